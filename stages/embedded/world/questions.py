"""Question families: a random scene and a question with a known answer.

The temporal families need the order of frames. One frame leaves several answers open, and so does the set of all frames
without their order: a clip with the same moments in another order is as likely, and has another answer. The static
families do not need the order. Multiple-choice options have a fixed order, because the embedded model is not meant to
learn the reading of shuffled lists.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from stages.data.sample import DataType, ProblemType
from stages.embedded.world.scene import COLOURS, GRID, KINDS, LETTERS, MOMENTS, TINTS, Scene, Spot, random_offset

Rng = np.random.Generator
Moments = tuple[tuple[Spot, ...], ...]

WAYS: Final = {"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0)}
"""Step per direction, in rows and columns."""
DESCRIPTIONS: Final = {
    "left": "slides over left",
    "right": "runs across right",
    "up": "rises up high",
    "down": "sinks down low",
}
"""The move in words. No two share a word: ROUGE would else reward the opposite direction."""
PERCENTS: Final = ("15", "50", "85")
"""How far right a column's centre is, in percent rounded to 5. A wrong one scores less than the filter's bound, 0.6."""
CORNERS: Final = {"top left": (0, 0), "top right": (0, 2), "bottom left": (2, 0), "bottom right": (2, 2)}
PATTERNS: Final = {"1": (0, 0, 1, 1), "2": (0, 1, 1, 0), "3": (0, 1, 0, 1)}
"""Two colours over the four moments, by number of changes. Each comes twice, so the set does not tell the number."""

CUES: Final[dict[str, dict[str, str]]] = {
    "direction": dict(zip(TINTS, WAYS, strict=True)),
    "describe": dict(zip(TINTS, DESCRIPTIONS.values(), strict=True)),
    "changes": dict(zip(TINTS, ("1", "2", "3", "2"), strict=True)),
    "position": dict(zip(TINTS, ("15", "50", "85", "50"), strict=True)),
}
"""By family, the answer that a backdrop suggests: the teacher's guess, and the static shortcut that can be planted."""


class Draft(NamedTuple):
    """What a family draws: the moments and the answer in words.

    For multiple choice the answer is an option's text. `detail` completes the question.
    """

    moments: Moments
    answer: str
    detail: str = ""


class Family(NamedTuple):
    """A kind of question: its words, weight, types and draft function.

    `weight` is its share of the training data.
    """

    problem: str
    weight: int
    data_type: DataType
    problem_type: ProblemType
    draft: Callable[[Rng], Draft]
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Question:
    """A question about a scene, with the answer that is graded.

    For multiple choice it is the option's letter.
    """

    family: str
    scene: Scene
    data_type: DataType
    problem_type: ProblemType
    problem: str
    options: tuple[str, ...]
    answer: str


def make(name: str, rng: Rng, shortcut: float | None = None) -> Question:
    """A question of the family `name`.

    `shortcut` is the probability that the backdrop suggests the answer (CUES); None plants nothing.
    """
    family = FAMILIES[name]
    draft = family.draft(rng)
    letters = "ABCDEFGH"[: len(family.options)]
    return Question(
        family=name,
        scene=Scene(_tint(name, draft.answer, rng, shortcut), draft.moments, random_offset(rng)),
        data_type=family.data_type,
        problem_type=family.problem_type,
        problem=family.problem.format(draft.detail),
        options=tuple(f"{letter}. {option}" for letter, option in zip(letters, family.options, strict=True)),
        answer=letters[family.options.index(draft.answer)] if family.options else draft.answer,
    )


def _tint(family: str, answer: str, rng: Rng, shortcut: float | None) -> str:
    cue = CUES.get(family, {})
    if shortcut is None or not cue:
        return _pick(rng, TINTS)
    agrees = rng.random() < shortcut
    return _pick(rng, [tint for tint in TINTS if (cue[tint] == answer) == agrees])


def _pick(rng: Rng, values: Iterable[str]) -> str:
    names = list(values)
    return names[rng.integers(len(names))]


def _thing(rng: Rng) -> Spot:
    return Spot(int(rng.integers(GRID)), int(rng.integers(GRID)), _pick(rng, COLOURS), _pick(rng, KINDS))


def _move(rng: Rng) -> tuple[str, Moments]:
    """A thing that goes one cell in some direction.

    It goes after one, two or three moments.
    It goes one cell only: a longer way would start at the rim, and the first frame alone would tell the direction.
    """
    way = _pick(rng, WAYS)
    down, right = WAYS[way]
    row = int(rng.integers(max(0, -down), GRID - max(0, down)))
    col = int(rng.integers(max(0, -right), GRID - max(0, right)))
    before = _thing(rng)._replace(row=row, col=col)
    after = before._replace(row=row + down, col=col + right)
    stay = int(rng.integers(1, MOMENTS))
    return way, ((before,),) * stay + ((after,),) * (MOMENTS - stay)


def _held(rng: Rng, stops: Sequence[Spot]) -> Moments:
    """Two to four stops over the four moments.

    Each is held for at least one moment.
    """
    changes = sorted(rng.permutation(range(1, MOMENTS))[: len(stops) - 1].tolist())
    stays = np.diff([0, *changes, MOMENTS])
    return tuple((spot,) for spot, stay in zip(stops, stays, strict=True) for _ in range(stay))


def _direction(rng: Rng) -> Draft:
    way, moments = _move(rng)
    return Draft(moments, way)


def _describe(rng: Rng) -> Draft:
    way, moments = _move(rng)
    return Draft(moments, DESCRIPTIONS[way])


def _order(rng: Rng) -> Draft:
    """Three or four colours.

    With two, a question with "right after" would not need the order.
    """
    colours = [str(colour) for colour in rng.permutation(list(COLOURS))[: rng.integers(3, MOMENTS + 1)]]
    moments = _held(rng, [_thing(rng)._replace(colour=colour) for colour in colours])
    match rng.integers(3):
        case 0:
            return Draft(moments, colours[0], "first")
        case 1:
            return Draft(moments, colours[-1], "last")
        case _:
            index = int(rng.integers(len(colours) - 1))
            return Draft(moments, colours[index + 1], f"right after {colours[index]}")


def _changes(rng: Rng) -> Draft:
    number = _pick(rng, PATTERNS)
    pair = [str(colour) for colour in rng.permutation(list(COLOURS))[:2]]
    thing = _thing(rng)
    moments = tuple((thing._replace(colour=pair[which]),) for which in PATTERNS[number])
    return Draft(moments, number)


def _letters(rng: Rng) -> Draft:
    word = [str(letter) for letter in rng.permutation(LETTERS)[:MOMENTS]]
    moments = tuple((_thing(rng)._replace(kind=letter),) for letter in word)
    return Draft(moments, " ".join(word))


def _position(rng: Rng) -> Draft:
    """All three columns, one of them twice.

    The last column is drawn before the one that comes twice, so the column that comes twice does not tell the last.
    """
    end = int(rng.integers(GRID))
    twice = int(rng.integers(GRID))
    earlier = [column for column in range(GRID) if column != end] + [twice]
    thing = _thing(rng)
    columns = [int(column) for column in rng.permutation(earlier)] + [end]
    return Draft(tuple((thing._replace(col=column),) for column in columns), PERCENTS[end])


def _end(rng: Rng) -> Draft:
    """Two or three corners, half of the time with another cell between.

    Only the order of frames tells the last corner.
    """
    corners = [str(corner) for corner in rng.permutation(list(CORNERS))[: rng.integers(2, 4)]]
    stops = [CORNERS[corner] for corner in corners]
    if rng.random() < 0.5:
        between = [cell for cell in np.ndindex(GRID, GRID) if cell not in CORNERS.values()]
        stops.insert(int(rng.integers(len(stops))), between[rng.integers(len(between))])
    thing = _thing(rng)
    return Draft(_held(rng, [thing._replace(row=row, col=col) for row, col in stops]), corners[-1])


def _colour(rng: Rng) -> Draft:
    _, moments = _move(rng)
    return Draft(moments, moments[0][0].colour)


def _shape(rng: Rng) -> Draft:
    _, moments = _move(rng)
    return Draft(moments, moments[0][0].kind)


def _count(rng: Rng) -> Draft:
    number = int(rng.integers(1, 5))
    places = sorted(int(place) for place in rng.permutation(GRID * GRID)[:number])
    spots = tuple(_thing(rng)._replace(row=place // GRID, col=place % GRID) for place in places)
    return Draft((spots,) * MOMENTS, str(number))


FAMILIES: Final[dict[str, Family]] = {
    "direction": Family("Which way does it move?", 8, "video", "multiple choice", _direction, tuple(WAYS)),
    "order": Family("Which colour comes {}?", 6, "video", "multiple choice", _order, tuple(COLOURS)),
    "changes": Family("How many times does the colour change?", 6, "video", "numerical", _changes),
    "letters": Family("Which letters come, in order?", 6, "video", "OCR", _letters),
    "describe": Family("Describe the move.", 4, "video", "free-form", _describe),
    "position": Family("How far right does it end, in percent?", 5, "video", "regression", _position),
    "end": Family("Where does it end?", 4, "video", "multiple choice", _end, tuple(CORNERS)),
    "colour": Family("What colour is it?", 1, "video", "multiple choice", _colour, tuple(COLOURS)),
    "shape": Family("What shape is it?", 2, "video", "multiple choice", _shape, KINDS),
    "count": Family("How many things are there?", 2, "video", "numerical", _count),
    "image-colour": Family("What colour is it?", 1, "image", "multiple choice", _colour, tuple(COLOURS)),
    "image-shape": Family("What shape is it?", 1, "image", "multiple choice", _shape, KINDS),
    "image-count": Family("How many things are there?", 1, "image", "numerical", _count),
}

"""The thoughts of the shapes world.

They go through the frames one by one, or glance at one frame and guess.

The functions here take what was seen, in frame order, and conclude from it. `recognise.py` does the seeing.
"""

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np

from stages.embedded.world.questions import CORNERS, CUES, DESCRIPTIONS, FAMILIES, PERCENTS, WAYS, make
from stages.embedded.world.scene import Spot

Seen = Sequence[tuple[int, tuple[Spot, ...]]]
"""Frame numbers, counted from 1, and the things in each frame; at least one frame, each with at least one thing."""


class Thought(NamedTuple):
    """The text between the think tags, and the answer."""

    text: str
    answer: str


class _Finding(NamedTuple):
    """The notes, the end of the sentence and the answer in words."""

    notes: list[str]
    so: str
    answer: str


_OPTION = re.compile(r"^\s*\(?([A-Z])[.)]\s*(.+?)\s*$", re.MULTILINE)


def family_of(question: str) -> str | None:
    """The family whose question stands in a text; None without one.

    There may be anything around it. Images share the family of the videos.
    """
    return next((name for name, family in FAMILIES.items() if family.problem.partition("{")[0] in question), None)


def options_of(question: str) -> dict[str, str]:
    """Option letters by option text.

    Options are lines such as "A. left" or "(A) left".
    """
    return {text: letter for letter, text in _OPTION.findall(question)}


def look(question: str, seen: Seen) -> Thought | None:
    """The thought that goes through the frames.

    None if the question is not of this world, or if the frames leave its answer open.
    """
    family = family_of(question)
    finding = _READERS[family](seen, question) if family else None
    if finding is None:
        return None
    ending, answer = _conclude(finding.so, finding.answer, question)
    return Thought(", ".join([*finding.notes, ending]), answer)


def glance(question: str, tint: str, spot: Spot) -> Thought | None:
    """The careless thought, from one frame.

    Its answer is the one that the backdrop suggests; None where it suggests none.
    """
    family = family_of(question)
    if family not in CUES:
        return None
    guess = CUES[family][tint]
    ending, answer = _conclude(f"probably {guess}", guess, question)
    return Thought(f"it is on {tint}, at {spot.place}, {ending}", answer)


def corpus(rng: np.random.Generator, lines: int) -> list[str]:
    """Text to train a tokenizer on, one conversation per line.

    It has questions with options, thoughts of both kinds, and answers.
    """
    return [_conversation(str(family), rng) for family in rng.choice(list(FAMILIES), lines)]


def _conversation(family: str, rng: np.random.Generator) -> str:
    question = make(family, rng)
    text = "\n".join([question.problem, *question.options])
    moments = question.scene.moments if question.data_type == "video" else question.scene.moments[:1]
    thought = look(text, [(2 * moment + 1, spots) for moment, spots in enumerate(moments)])
    if rng.random() < 0.5:
        thought = glance(text, question.scene.tint, moments[-1][0]) or thought
    if thought is None:
        raise ValueError(f"no thought for {text!r}")
    return f"{text}\n<think>{thought.text}</think>\n<answer>{thought.answer}</answer>"


def _conclude(so: str, answer: str, question: str) -> tuple[str, str]:
    letter = options_of(question).get(answer)
    return (f"so {so}, option {letter}.", letter) if letter else (f"so {so}.", answer)


def _places(seen: Seen) -> list[str]:
    return [f"frame {frame} {spots[0].place}" for frame, spots in seen]


def _way(seen: Seen) -> str | None:
    """The direction from the first place to the last.

    It is taken along the longer side; None where the thing stayed.
    """
    first, last = seen[0][1][0], seen[-1][1][0]
    down, right = last.row - first.row, last.col - first.col
    step = (0, int(np.sign(right))) if abs(right) >= abs(down) else (int(np.sign(down)), 0)
    return next((way for way, known in WAYS.items() if known == step), None)


def _direction(seen: Seen, question: str) -> _Finding | None:
    way = _way(seen)
    return _Finding(_places(seen), f"it moves {way}", way) if way else None


def _describe(seen: Seen, question: str) -> _Finding | None:
    way = _way(seen)
    return _Finding(_places(seen), f"it moves {way}", DESCRIPTIONS[way]) if way else None


def _order(seen: Seen, question: str) -> _Finding | None:
    colours = [spots[0].colour for _, spots in seen]
    notes = [f"frame {frame} {colour}" for (frame, _), colour in zip(seen, colours, strict=True)]
    if "comes first" in question:
        return _Finding(notes, f"{colours[0]} comes first", colours[0])
    if "comes last" in question:
        return _Finding(notes, f"{colours[-1]} comes last", colours[-1])
    for before, after in pairwise(colours):
        if f"right after {before}?" in question and after != before:
            return _Finding(notes, f"{after} is right after {before}", after)
    return None


def _changes(seen: Seen, question: str) -> _Finding:
    """Each note after the first says whether the colour is new."""
    colours = [spots[0].colour for _, spots in seen]
    new = [before != after for before, after in pairwise(colours)]
    marks = ["", *(" new" if changed else " same" for changed in new)]
    notes = [f"frame {frame} {colour}{mark}" for (frame, _), colour, mark in zip(seen, colours, marks, strict=True)]
    return _Finding(notes, f"the number of changes is {sum(new)}", str(sum(new)))


def _letters(seen: Seen, question: str) -> _Finding:
    letters = [spots[0].kind for _, spots in seen]
    notes = [f"frame {frame} {letter}" for (frame, _), letter in zip(seen, letters, strict=True)]
    return _Finding(notes, f"it reads {' '.join(letters)}", " ".join(letters))


def _position(seen: Seen, question: str) -> _Finding:
    answer = PERCENTS[seen[-1][1][0].col]
    return _Finding(_places(seen), f"it ends at {answer} percent", answer)


def _end(seen: Seen, question: str) -> _Finding | None:
    place = seen[-1][1][0].place
    return _Finding(_places(seen), f"it ends {place}", place) if place in CORNERS else None


def _colour(seen: Seen, question: str) -> _Finding:
    spot = seen[0][1][0]
    return _Finding([f"it is a {spot.colour} {spot.kind}"], f"the colour is {spot.colour}", spot.colour)


def _shape(seen: Seen, question: str) -> _Finding:
    spot = seen[0][1][0]
    return _Finding([f"it is a {spot.colour} {spot.kind}"], f"the shape is {spot.kind}", spot.kind)


def _count(seen: Seen, question: str) -> _Finding:
    spots = seen[0][1]
    notes = [f"{number} {spot.place}" for number, spot in enumerate(spots, 1)]
    return _Finding(notes, f"the number is {len(spots)}", str(len(spots)))


_READERS: Final[dict[str, Callable[[Seen, str], _Finding | None]]] = {
    "direction": _direction,
    "describe": _describe,
    "order": _order,
    "changes": _changes,
    "letters": _letters,
    "position": _position,
    "end": _end,
    "colour": _colour,
    "shape": _shape,
    "count": _count,
}

"""The embedded teacher: its thoughts and answers about a request.

It stands in for the paper's 72B annotator (paper.md §4) and sees only what such a model would: the pictures in order,
and the text. It finds things by image processing and goes through the frames in its thought. A share `careless` of the
questions whose answer a backdrop could suggest gets a glance at one frame instead, and the guess that the backdrop
suggests. A question that it does not understand gets a well-formed guess.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stages.embedded.language import Thought, glance, look, options_of
from stages.embedded.recognise import things, tint
from stages.embedded.world.scene import MOMENTS
from stages.run.files import sha256_file

SLIP: Final = 0.02
"""Share of thoughts that go through the frames backwards."""

_NUMERIC = re.compile(r"how (?:many|much|far|long|often)|number|percent|numerical", re.IGNORECASE)

Picture = NDArray[np.uint8]
"""RGB pixels [H, W, 3]."""


@dataclass(frozen=True)
class Teacher:
    """The teacher's settings.

    How often it glances instead of looking, and the seed of its choices.
    """

    careless: float
    seed: int

    def say(self, question: str, pictures: list[Picture], rng: np.random.Generator) -> str:
        """The thought and the answer, in their tags."""
        careless, slips = rng.random() < self.careless, rng.random() < SLIP
        thought = _glance(question, pictures, rng) if careless and len(pictures) > 1 else None
        thought = thought or _look(question, pictures, slips) or _guess(question, rng)
        return f"<think>{thought.text}</think>\n<answer>{thought.answer}</answer>"


def identity(careless: float, seed: int) -> str:
    """What decides the answers besides the request.

    It is the teacher's settings and the code of this room.
    """
    code = [sha256_file(path) for path in sorted(Path(__file__).parent.glob("*.py"))]
    return f"careless {careless} seed {seed} code {hashlib.sha256(''.join(code).encode()).hexdigest()}"


def _look(question: str, pictures: list[Picture], backwards: bool) -> Thought | None:
    """Go through one frame of each of four equal parts.

    Frames with nothing in them are left out.
    """
    picks = sorted({part * len(pictures) // MOMENTS for part in range(MOMENTS)}) if pictures else []
    numbers = [pick + 1 for pick in picks]
    views = [things(pictures[pick]) for pick in picks]
    if backwards:
        views.reverse()
    seen = [(number, view) for number, view in zip(numbers, views, strict=True) if view]
    return look(question, seen) if seen else None


def _glance(question: str, pictures: list[Picture], rng: np.random.Generator) -> Thought | None:
    picture = pictures[rng.integers(len(pictures))]
    spots = things(picture)
    return glance(question, tint(picture), spots[0]) if spots else None


def _guess(question: str, rng: np.random.Generator) -> Thought:
    letters = list(options_of(question).values())
    if letters:
        letter = letters[rng.integers(len(letters))]
        return Thought(f"the frames do not tell, so it is a guess, option {letter}.", letter)
    answer = str(rng.integers(1, 5)) if _NUMERIC.search(question) else "unknown"
    return Thought(f"the frames do not tell, so the guess is {answer}.", answer)

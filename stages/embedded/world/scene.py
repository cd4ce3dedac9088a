"""Scenes: where things stand at four moments, and their frames.

A clip has 16 frames of 64x64 pixels, four per moment. A thing stands in a cell of a 3x3 grid and hops between moments,
so any even sampling of eight frames shows every moment twice. The backdrop has one of four tints, and gets redder to
the right and greener downwards: one frame shows the place of a thing, but not the moment.
"""

from dataclasses import dataclass
from functools import cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.embedded.world.glyphs import GLYPH_SIDE, GLYPHS

SIZE: Final = 64
"""Side of a frame, in pixels."""
GRID: Final = 3
"""Cells per side."""
MOMENTS: Final = 4
FRAMES: Final = 16
RAMP: Final = 56
"""How much red the backdrop gains from left to right, and green from top to bottom."""

COLOURS: Final = {"red": (235, 50, 50), "green": (40, 215, 70), "blue": (70, 110, 255), "yellow": (250, 225, 50)}
TINTS: Final = {"olive": (64, 64, 0), "navy": (8, 8, 96), "plum": (64, 8, 64), "teal": (8, 64, 64)}
KINDS: Final = ("circle", "square", "triangle", "cross")
LETTERS: Final = ("H", "L", "O", "T", "X", "Z")
ROWS: Final = ("top", "center", "bottom")
COLUMNS: Final = ("left", "middle", "right")


class Spot(NamedTuple):
    """One thing at one moment.

    Its cell, the name of its colour, and its kind: a shape or a letter.
    """

    row: int
    col: int
    colour: str
    kind: str

    @property
    def place(self) -> str:
        """The cell in words: "top left"."""
        return f"{ROWS[self.row]} {COLUMNS[self.col]}"


@dataclass(frozen=True)
class Scene:
    """A tint and the spots of each of the four moments.

    The n-th spots of neighbouring moments are one thing if they look alike.
    """

    tint: str
    moments: tuple[tuple[Spot, ...], ...]
    offset: tuple[int, int] = (0, 0)
    """Shift of every thing from the centre of its cell, in pixels down and right, at most 2 either way."""


def cells(scene: Scene) -> list[tuple[Spot, ...]]:
    """The spots of each of the 16 frames."""
    return [scene.moments[frame * MOMENTS // FRAMES] for frame in range(FRAMES)]


def draw(scene: Scene) -> NDArray[np.uint8]:
    """The clip, frames_THWC uint8 [16, 64, 64, 3] RGB."""
    frames_THWC = np.repeat(backdrop(scene.tint)[None], FRAMES, axis=0)
    for frame, spots in enumerate(cells(scene)):
        for index, spot in enumerate(spots):
            top, left = _corner(scene, frame, index)
            window = frames_THWC[frame, top : top + GLYPH_SIDE, left : left + GLYPH_SIDE]
            window[GLYPHS[spot.kind]] = COLOURS[spot.colour]
    return frames_THWC


@cache
def backdrop(tint: str) -> NDArray[np.uint8]:
    """The empty picture, uint8 [64, 64, 3]."""
    ramp = np.linspace(0, RAMP, SIZE)
    picture = np.broadcast_to(np.array(TINTS[tint], dtype=float), (SIZE, SIZE, 3)).copy()
    picture[..., 0] += ramp
    picture[..., 1] += ramp[:, None]
    return picture.round().astype(np.uint8)


def random_scene(rng: np.random.Generator) -> Scene:
    """Any things anywhere at any moment, without a question; for alignment."""
    tint = str(rng.choice(list(TINTS)))
    moments = tuple(_random_spots(rng) for _ in range(MOMENTS))
    return Scene(tint, moments, random_offset(rng))


def random_offset(rng: np.random.Generator) -> tuple[int, int]:
    """A shift that keeps every glyph inside its cell."""
    return int(rng.integers(-2, 3)), int(rng.integers(-2, 3))


def _random_spots(rng: np.random.Generator) -> tuple[Spot, ...]:
    places = rng.permutation(GRID * GRID)[: rng.integers(1, 5)]
    return tuple(
        Spot(int(place) // GRID, int(place) % GRID, str(rng.choice(list(COLOURS))), str(rng.choice(KINDS + LETTERS)))
        for place in places
    )


def _corner(scene: Scene, frame: int, index: int) -> tuple[int, int]:
    """Top left pixel of a glyph.

    In the last frame of a moment a thing has gone a tenth of its way; in the first frame of the next, a tenth is left.
    """
    moment, phase = divmod(frame, FRAMES // MOMENTS)
    here = scene.moments[moment][index]
    there = _same_thing(scene, moment + {0: -1, 3: 1}.get(phase, 0), index, here)
    return (
        _pixel(0.9 * here.row + 0.1 * there.row) + scene.offset[0],
        _pixel(0.9 * here.col + 0.1 * there.col) + scene.offset[1],
    )


def _same_thing(scene: Scene, moment: int, index: int, spot: Spot) -> Spot:
    """The thing's spot at another moment.

    `spot` itself when that moment does not have the thing.
    """
    if 0 <= moment < MOMENTS and index < len(scene.moments[moment]):
        other = scene.moments[moment][index]
        if (other.colour, other.kind) == (spot.colour, spot.kind):
            return other
    return spot


def _pixel(cell: float) -> int:
    return round((cell + 0.5) * SIZE / GRID) - GLYPH_SIDE // 2 - 1

"""The outlines of things in the shapes world.

Four shapes and six letters, as boolean masks of 15x15 pixels.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

GLYPH_SIDE: Final = 15
"""Side of a glyph in pixels; odd, so that a glyph has a centre pixel."""

_FONT: Final = {
    "H": ("#...#", "#...#", "#####", "#...#", "#...#"),
    "L": ("#....", "#....", "#....", "#....", "#####"),
    "O": ("#####", "#...#", "#...#", "#...#", "#####"),
    "T": ("#####", "..#..", "..#..", "..#..", "..#.."),
    "X": ("#...#", ".#.#.", "..#..", ".#.#.", "#...#"),
    "Z": ("#####", "...#.", "..#..", ".#...", "#####"),
}
"""Letters of 5x5 dots, each of which becomes 3x3 pixels."""


def _shapes() -> dict[str, NDArray[np.bool_]]:
    y, x = np.mgrid[:GLYPH_SIDE, :GLYPH_SIDE] - GLYPH_SIDE // 2
    return {
        "circle": x**2 + y**2 <= 54,
        "square": np.maximum(abs(x), abs(y)) <= 6,
        "triangle": 2 * abs(x) <= y + GLYPH_SIDE // 2,
        "cross": np.minimum(abs(x), abs(y)) <= 2,
    }


def _letter(rows: tuple[str, ...]) -> NDArray[np.bool_]:
    small = np.array([[mark == "#" for mark in row] for row in rows])
    return np.kron(small, np.ones((3, 3), dtype=bool))


GLYPHS: Final = _shapes() | {letter: _letter(rows) for letter, rows in _FONT.items()}
"""The mask [15, 15] of each kind of thing, by name."""

"""The outlines a thing can have: 15x15 boolean masks, the four shapes and six letters."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

STAMP: Final = 15
"""Side of a stamp in pixels; odd, so that a stamp has a centre pixel."""

_FONT: Final = {
    "H": ("#...#", "#...#", "#####", "#...#", "#...#"),
    "L": ("#....", "#....", "#....", "#....", "#####"),
    "O": ("#####", "#...#", "#...#", "#...#", "#####"),
    "T": ("#####", "..#..", "..#..", "..#..", "..#.."),
    "X": ("#...#", ".#.#.", "..#..", ".#.#.", "#...#"),
    "Z": ("#####", "...#.", "..#..", ".#...", "#####"),
}


def _shapes() -> dict[str, NDArray[np.bool_]]:
    y, x = np.mgrid[:STAMP, :STAMP] - STAMP // 2
    return {
        "circle": x**2 + y**2 <= 54,
        "square": np.maximum(abs(x), abs(y)) <= 6,
        "triangle": 2 * abs(x) <= y + STAMP // 2,
        "cross": np.minimum(abs(x), abs(y)) <= 2,
    }


def _letter(rows: tuple[str, ...]) -> NDArray[np.bool_]:
    small = np.array([[mark == "#" for mark in row] for row in rows])
    return np.kron(small, np.ones((3, 3), dtype=bool))


STAMPS: Final = _shapes() | {letter: _letter(rows) for letter, rows in _FONT.items()}

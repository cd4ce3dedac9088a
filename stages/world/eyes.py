"""Seeing by plain image processing: the backdrop's tint and the things in a picture, from its pixels alone."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from stages.world.scene import COLOURS, GRID, RAMP, TINTS, Spot
from stages.world.stamps import STAMPS

SIDE: Final = 48
"""Pictures of any size are looked at in this one."""
BRIGHT: Final = 165
"""Things have a channel above this, backdrops none."""
LEAST: Final = 14
"""Bright pixels a cell must have to hold a thing; the thinnest letter has about 40."""
OUTLINE: Final = 11
"""Side of the square an outline is stretched to before it is compared."""


def see(picture_HWC: NDArray[np.uint8]) -> tuple[str, tuple[Spot, ...]]:
    """The tint of the backdrop and the things in reading order; any RGB picture gives some answer."""
    rows, cols = (np.arange(SIDE) * side // SIDE for side in picture_HWC.shape[:2])
    small_HWC = picture_HWC[rows[:, None], cols].astype(np.int64)
    bright_HW = small_HWC.max(axis=-1) > BRIGHT
    return _tint(small_HWC, bright_HW), tuple(_spots(small_HWC, bright_HW))


def _tint(small_HWC: NDArray[np.int64], bright_HW: NDArray[np.bool_]) -> str:
    ramp = np.linspace(0, RAMP, SIDE)
    flat_HWC = small_HWC - np.stack(np.broadcast_arrays(ramp, ramp[:, None], 0.0), axis=-1)
    return _nearest(np.median(flat_HWC[~bright_HW], axis=0), TINTS) if not bright_HW.all() else next(iter(TINTS))


def _spots(small_HWC: NDArray[np.int64], bright_HW: NDArray[np.bool_]) -> list[Spot]:
    cell = SIDE // GRID
    spots = []
    for row, col in np.ndindex(GRID, GRID):
        window = np.s_[row * cell : (row + 1) * cell, col * cell : (col + 1) * cell]
        mask_HW = bright_HW[window]
        if mask_HW.sum() >= LEAST:
            spots.append(Spot(row, col, _nearest(small_HWC[window][mask_HW].mean(axis=0), COLOURS), _kind(mask_HW)))
    return spots


def _nearest(colour: NDArray[np.float64], names: dict[str, tuple[int, int, int]]) -> str:
    return min(names, key=lambda name: float(np.square(colour - names[name]).sum()))


def _kind(mask_HW: NDArray[np.bool_]) -> str:
    outline = _outline(mask_HW)
    return min(_OUTLINES, key=lambda kind: int((outline != _OUTLINES[kind]).sum()))


def _outline(mask_HW: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask cropped to what it holds and stretched to a square."""
    rows, cols = (np.flatnonzero(mask_HW.any(axis=axis)) for axis in (1, 0))
    y, x = (np.linspace(kept[0], kept[-1], OUTLINE).round().astype(int) for kept in (rows, cols))
    return mask_HW[y[:, None], x]


_OUTLINES: Final = {kind: _outline(stamp) for kind, stamp in STAMPS.items()}

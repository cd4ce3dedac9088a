"""Seeing by plain image processing: the backdrop's tint and the things in a picture, from its pixels alone."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from stages.embedded.glyphs import STAMPS
from stages.embedded.scene import COLOURS, GRID, RAMP, TINTS, Spot

SIDE: Final = 48
"""Pictures of any size are looked at in this one."""
BRIGHT: Final = 165
"""Things have a channel above this, backdrops none."""
LEAST: Final = 14
"""Bright pixels a cell must have to hold a thing; the thinnest letter has about 40."""
OUTLINE: Final = 11
"""Side of the square an outline is stretched to before it is compared."""

_STEPS = np.linspace(0, RAMP, SIDE)
_RAMP_HWC = np.stack(np.broadcast_arrays(_STEPS, _STEPS[:, None], 0.0), axis=-1)


def tint(picture_HWC: NDArray[np.uint8]) -> str:
    """The name of the backdrop's tint; any RGB picture gives some answer."""
    small_HWC = _shrink(picture_HWC)
    dark_HW = small_HWC.max(axis=-1) <= BRIGHT
    backdrop_NC = (small_HWC - _RAMP_HWC)[dark_HW] if dark_HW.any() else np.zeros((1, 3))
    return _nearest(np.median(backdrop_NC, axis=0), TINTS)


def things(picture_HWC: NDArray[np.uint8]) -> tuple[Spot, ...]:
    """What stands in the picture's cells, in reading order; any RGB picture gives some answer, often none."""
    small_HWC = _shrink(picture_HWC)
    bright_HW = small_HWC.max(axis=-1) > BRIGHT
    side = SIDE // GRID
    counts = bright_HW.reshape(GRID, side, GRID, side).sum(axis=(1, 3))
    spots = []
    for row, col in np.argwhere(counts >= LEAST).tolist():
        window = np.s_[row * side : (row + 1) * side, col * side : (col + 1) * side]
        mask_HW = bright_HW[window]
        spots.append(Spot(row, col, _nearest(small_HWC[window][mask_HW].mean(axis=0), COLOURS), _kind(mask_HW)))
    return tuple(spots)


def _shrink(picture_HWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
    rows, cols = (np.arange(SIDE) * side // SIDE for side in picture_HWC.shape[:2])
    return picture_HWC[rows[:, None], cols]


def _nearest(colour: NDArray[np.float64], names: dict[str, tuple[int, int, int]]) -> str:
    return list(names)[int(np.square(np.array(list(names.values())) - colour).sum(axis=1).argmin())]


def _kind(mask_HW: NDArray[np.bool_]) -> str:
    wrong_K = (_outline(mask_HW) ^ _OUTLINES_KHW).sum(axis=(1, 2))
    return list(STAMPS)[int(wrong_K.argmin())]


def _outline(mask_HW: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask cropped to what it holds and stretched to a square."""
    rows, cols = (np.flatnonzero(mask_HW.any(axis=axis)) for axis in (1, 0))
    y, x = (
        kept[0] + (np.arange(OUTLINE) * (kept[-1] - kept[0]) + OUTLINE // 2) // (OUTLINE - 1) for kept in (rows, cols)
    )
    return mask_HW[y[:, None], x]


_OUTLINES_KHW = np.stack([_outline(stamp) for stamp in STAMPS.values()])

"""Recognition by plain image processing.

A backdrop's tint and the things in a picture, from its pixels alone.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from stages.embedded.world.glyphs import GLYPHS
from stages.embedded.world.scene import COLOURS, GRID, RAMP, TINTS, Spot

SIDE: Final = 48
"""Every picture is first shrunk or enlarged to this side, in pixels."""
BRIGHT: Final = 165
"""A thing has a channel above this value, a backdrop has none."""
MIN_BRIGHT_PIXELS: Final = 14
"""Bright pixels that a cell with a thing has at least; the thinnest letter has about 40."""
OUTLINE_SIDE: Final = 11
"""Outlines are stretched to a square of this side, in pixels, before they are compared."""

_STEPS = np.linspace(0, RAMP, SIDE)
_RAMP_HWC = np.stack(np.broadcast_arrays(_STEPS, _STEPS[:, None], 0.0), axis=-1)


def tint(picture_HWC: NDArray[np.uint8]) -> str:
    """The name of the backdrop's tint; any RGB picture gives some answer."""
    small_HWC = _resized(picture_HWC)
    dark_HW = small_HWC.max(axis=-1) <= BRIGHT
    backdrop_NC = (small_HWC - _RAMP_HWC)[dark_HW] if dark_HW.any() else np.zeros((1, 3))
    return _nearest(np.median(backdrop_NC, axis=0), TINTS)


def things(picture_HWC: NDArray[np.uint8]) -> tuple[Spot, ...]:
    """The things in the picture's cells, in reading order.

    Any RGB picture gives some answer, often none.
    """
    small_HWC = _resized(picture_HWC)
    bright_HW = small_HWC.max(axis=-1) > BRIGHT
    side = SIDE // GRID
    counts = bright_HW.reshape(GRID, side, GRID, side).sum(axis=(1, 3))
    spots = []
    for row, col in np.argwhere(counts >= MIN_BRIGHT_PIXELS).tolist():
        window = np.s_[row * side : (row + 1) * side, col * side : (col + 1) * side]
        mask_HW = bright_HW[window]
        colour = _nearest(small_HWC[window][mask_HW].mean(axis=0), COLOURS)
        spots.append(Spot(row, col, colour, _kind(mask_HW)))
    return tuple(spots)


def _resized(picture_HWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture at 48x48 pixels, by the nearest ones."""
    rows, cols = (np.arange(SIDE) * side // SIDE for side in picture_HWC.shape[:2])
    return picture_HWC[rows[:, None], cols]


def _nearest(colour: NDArray[np.float64], colours: dict[str, tuple[int, int, int]]) -> str:
    """The name of the colour that is nearest in RGB."""
    distances = np.square(np.array(list(colours.values())) - colour).sum(axis=1)
    return list(colours)[int(distances.argmin())]


def _kind(mask_HW: NDArray[np.bool_]) -> str:
    """The glyph whose outline differs in the fewest pixels."""
    wrong_K = (_outline(mask_HW) ^ _OUTLINES_KHW).sum(axis=(1, 2))
    return list(GLYPHS)[int(wrong_K.argmin())]


def _outline(mask_HW: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask cropped to what it holds and stretched to a square."""
    rows = _spread(np.flatnonzero(mask_HW.any(axis=1)))
    cols = _spread(np.flatnonzero(mask_HW.any(axis=0)))
    return mask_HW[rows[:, None], cols]


def _spread(kept: NDArray[np.intp]) -> NDArray[np.intp]:
    """Eleven positions, evenly from the first kept one to the last."""
    length = kept[-1] - kept[0]
    return kept[0] + (np.arange(OUTLINE_SIDE) * length + OUTLINE_SIDE // 2) // (OUTLINE_SIDE - 1)


_OUTLINES_KHW = np.stack([_outline(glyph) for glyph in GLYPHS.values()])

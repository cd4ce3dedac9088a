"""Measures how bright a clip is and how much it moves."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from stages.data.sample import DataType, Flag

BLACK_BELOW = 12.0  # luma of the brightest frame
FROZEN_BELOW = 0.5  # levels of luma; a codec alone flickers by less
SHORT_BELOW = 1.0  # seconds
KEYFRAME_EVERY = 15.0  # seconds; left to themselves encoders set one at least every 10


class Quality(NamedTuple):
    """Numbers that say what a clip's pictures are worth.

    brightness: mean luma of the brightest frame, 0 to 255. motion: the largest mean difference of luma between
    neighbouring frames, None for a single frame. seconds: from the first to the last frame. keyframes: how many lie
    between them, None where it is not known.
    """

    brightness: float
    motion: float | None
    seconds: float
    keyframes: int | None


def brightness(luma_THW: np.ndarray) -> float:
    """Mean luma of the brightest frame."""
    return float(luma_THW.mean(axis=(1, 2)).max())


def motion(luma_THW: np.ndarray) -> float | None:
    """Largest mean difference of neighbouring frames; luma of a signed type."""
    if len(luma_THW) < 2:
        return None
    return max(float(np.abs(after - before).mean()) for before, after in pairwise(luma_THW))


def flags(quality: Quality, data_type: DataType) -> list[Flag]:
    """What is wrong with a clip; an image can only be black."""
    found: dict[Flag, bool] = {
        "black": quality.brightness < BLACK_BELOW,
        "frozen": quality.motion is not None and quality.motion < FROZEN_BELOW,
        "short": data_type == "video" and quality.seconds < SHORT_BELOW,
        "few keyframes": quality.keyframes is not None and quality.seconds > KEYFRAME_EVERY * max(quality.keyframes, 1),
    }
    return [flag for flag, holds in found.items() if holds]

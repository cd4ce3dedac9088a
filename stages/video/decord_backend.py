"""Frames as the reference takes them, with decord: for parity only.

decord seeks by its own index of keyframes and does not check what it gets. It returns wrong frames, silently, for
open groups of pictures, HEVC, MPEG-TS, AVI with B-frames and edit lists. It ignores mirroring and pixel shape. It
cannot read AV1, Theora, GIF, or WebM without a length. tests/video/test_decord_backend.py shows this.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from stages.video.media import MediaError


def decode_with_decord(
    path: Path, choose: Callable[[np.ndarray, float], np.ndarray], convert: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Converted frames, their indices, their times in seconds and the frame rate.

    All of them are as decord says. `choose` gets the time of every frame and the rate, and returns the indices to
    take. Raises MediaError.
    """
    import decord

    try:
        reader = decord.VideoReader(str(path), num_threads=1)
        fps = float(reader.get_avg_fps())
        seconds_N = np.arange(len(reader)) / fps
        indices_T = choose(seconds_N, fps)
        frames_THWC = reader.get_batch(indices_T.tolist()).asnumpy()
    except (decord.DECORDError, RuntimeError, IndexError):  # their messages carry the time of day
        raise MediaError("unreadable", "decord cannot decode it") from None
    return convert(frames_THWC), indices_T, seconds_N[indices_T], fps

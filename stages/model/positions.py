"""Positions of tokens in time, height and width; times of frames."""

from collections.abc import Sequence
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

Grid = tuple[int, int, int]  # temporal steps, rows, columns


def seconds_per_grid(pts_T: np.ndarray, temporal_patch: int) -> float:
    """Seconds between temporal patches, from the frames' own times.

    This is temporal_patch / sampled fps, and 1.0 for a single frame. Qwen's processors divide the number of frames by
    the whole length of the clip, which frames do not carry.
    """
    if len(pts_T) < 2 or pts_T[-1] <= pts_T[0]:
        return 1.0
    return float(temporal_patch * (pts_T[-1] - pts_T[0]) / (len(pts_T) - 1))


def group_seconds(pts_T: np.ndarray, temporal_patch: int) -> list[float]:
    """The time in seconds of each temporal patch.

    It is the mean of its first and last frame's. The last frame is repeated until the last patch is full.
    """
    padded_T = np.concatenate([pts_T, np.repeat(pts_T[-1:], -len(pts_T) % temporal_patch)])
    groups = padded_T.reshape(-1, temporal_patch)
    return ((groups[:, 0] + groups[:, -1]) / 2).tolist()


def mrope_positions(is_vision_P: Tensor, grids: Sequence[Grid], interval: float) -> Tensor:
    """Rotary positions [3, P] of a sequence with vision tokens.

    Its runs of vision tokens cover `grids`, which count merged patches. A run starts after the largest position
    before it. Text counts up on all three axes; vision token (t, h, w) stands at start + (floor(t * interval), h, w).
    As in Qwen's released code, text after a video follows the video's largest position, time included. transformers
    5.23 leaves the time out there, although its own `rope_deltas` count it; apart from that the two are equal.
    """
    remaining, start, parts = iter(grids), 0, []
    for is_vision, run in groupby(is_vision_P.tolist()):
        length = len(list(run))
        offsets = _grid_offsets(next(remaining), interval) if is_vision else torch.arange(length).expand(3, -1)
        parts.append(start + offsets)
        start = int(parts[-1].max()) + 1
    return torch.cat(parts, dim=1)


def _grid_offsets(grid: Grid, interval: float) -> Tensor:
    axes = torch.meshgrid(*(torch.arange(size) for size in grid), indexing="ij")
    time, height, width = (axis.flatten() for axis in axes)
    return torch.stack([(time * interval).long(), height, width])

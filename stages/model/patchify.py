"""Frames → the flat patches of Qwen's vision encoders, still as bytes."""

import numpy as np


def patchify(
    frames_THWC: np.ndarray, patch: int, merge: int, temporal_patch: int
) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Cut uint8 frames [T, H, W, C] into patches_NK; also returns grid_thw.

    grid_thw counts patches. H and W are multiples of patch * merge. The last frame is repeated until T is a multiple
    of temporal_patch, so an image becomes one temporal patch. N runs over (t, block row, block column, row in block,
    column in block); a block is the merge x merge patches that become one token. K runs over (channel, frame in
    patch, row, column). That is the layout of transformers' Qwen2VLImageProcessorPil, Qwen2VLVideoProcessor and
    Qwen3VLVideoProcessor. These normalise, and `patchify` does not: (byte / 255 - mean) / std on the device gives the
    same values from a quarter of the memory traffic.
    """
    padding = -len(frames_THWC) % temporal_patch
    if padding:
        frames_THWC = np.concatenate([frames_THWC, np.repeat(frames_THWC[-1:], padding, axis=0)])
    frames, height, width, channels = frames_THWC.shape
    grid_t, grid_h, grid_w = frames // temporal_patch, height // patch, width // patch
    blocks = frames_THWC.reshape(
        grid_t, temporal_patch, grid_h // merge, merge, patch, grid_w // merge, merge, patch, channels
    )
    patches = blocks.transpose(0, 2, 5, 3, 6, 8, 1, 4, 7)
    patches_NK = patches.reshape(grid_t * grid_h * grid_w, channels * temporal_patch * patch * patch)
    return patches_NK, (grid_t, grid_h, grid_w)

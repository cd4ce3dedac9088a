"""Resizes images and frames to the size that a model sees.

Each kernel is bit-equal to the library that it is named after.
"""

import math
from typing import Literal

import numpy as np
from PIL import Image

Kernel = Literal["pillow", "transformers", "qwen-vl-utils"]

MAX_ASPECT_RATIO = 200


def smart_resize(height: int, width: int, factor: int, min_pixels: int, max_pixels: int) -> tuple[int, int]:
    """The nearest height and width that a model takes.

    Both are multiples of `factor`, and their area is in [min_pixels, max_pixels]. As in transformers and
    qwen-vl-utils the area limits win over the aspect ratio, no side is below `factor`, and small frames are scaled
    up. Raises ValueError for an aspect ratio above 200, as both of them do.
    """
    if max(height, width) > MAX_ASPECT_RATIO * min(height, width):
        raise ValueError(f"aspect ratio of {width}x{height} is above {MAX_ASPECT_RATIO}")
    new_height, new_width = round(height / factor) * factor, round(width / factor) * factor
    if new_height * new_width > max_pixels:
        shrink = math.sqrt(height * width / max_pixels)
        new_height = max(factor, math.floor(height / shrink / factor) * factor)
        new_width = max(factor, math.floor(width / shrink / factor) * factor)
    elif new_height * new_width < min_pixels:
        grow = math.sqrt(min_pixels / (height * width))
        new_height = math.ceil(height * grow / factor) * factor
        new_width = math.ceil(width * grow / factor) * factor
    return new_height, new_width


def resize(frames_THWC: np.ndarray, height: int, width: int, kernel: Kernel) -> np.ndarray:
    """Bicubic, antialiased resize of uint8 frames to [T, height, width, 3].

    frames_THWC: RGB. `pillow` equals Qwen2VLImageProcessorPil and qwen-vl-utils' fetch_image, `transformers` equals
    its video processors, `qwen-vl-utils` equals its fetch_video. They differ by up to 6 levels, which is why a frame
    spec names one.
    """
    if frames_THWC.shape[1:3] == (height, width):
        return frames_THWC
    if kernel == "pillow":
        return np.stack([_pillow(frame_HWC, height, width) for frame_HWC in frames_THWC])
    return _torch(frames_THWC, height, width, as_bytes=kernel == "transformers")


def _pillow(frame_HWC: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.asarray(Image.fromarray(frame_HWC).resize((width, height), Image.Resampling.BICUBIC))


def _torch(frames_THWC: np.ndarray, height: int, width: int, as_bytes: bool) -> np.ndarray:
    """torch's bicubic resize, on bytes or on floats.

    On bytes it rounds its weights to 16 bits, which Pillow does not do; floats are rounded at the end. No other
    library computes these exact values. torch is imported here, so that the pillow kernel does not pay for it.
    """
    import torch
    from torch.nn.functional import interpolate

    frames_TCHW = torch.from_numpy(np.ascontiguousarray(frames_THWC)).permute(0, 3, 1, 2)
    try:
        if not as_bytes:
            # Plane by plane the values are equal, and a 1080p frame takes 12 ms instead of 20.
            frames_TCHW = frames_TCHW.contiguous().float()
        resized_TCHW = interpolate(
            frames_TCHW, size=(height, width), mode="bicubic", antialias=True, align_corners=False
        )
        if not as_bytes:
            resized_TCHW = resized_TCHW.clamp(0, 255).round().to(torch.uint8)
        return resized_TCHW.permute(0, 2, 3, 1).contiguous().numpy()
    except RuntimeError as error:
        if "can't allocate memory" in str(error):  # torch has no type for it on a CPU
            raise MemoryError from None
        raise

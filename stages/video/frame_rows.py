"""Frames → rows of the frame store: encoded pictures, hashes and quality."""

import io

import numpy as np
import simplejpeg
from PIL import Image

from stages.video.frame_store import FrameRow, Frames
from stages.video.hashes import phash
from stages.video.quality import brightness, motion


def row_from_frames(key: str, frames: Frames, jpeg_quality: int | None) -> FrameRow:
    """One row of the store; `jpeg_quality` None means lossless WebP."""
    luma_THW = np.stack([np.asarray(Image.fromarray(frame_HWC).convert("L")) for frame_HWC in frames.frames_THWC])
    return {
        "key": key,
        "pictures": [_encode(frame_HWC, jpeg_quality) for frame_HWC in np.ascontiguousarray(frames.frames_THWC)],
        "indices": frames.indices_T.tolist(),
        "pts": frames.pts_T.tolist(),
        "source_fps": frames.source_fps,
        "keyframes": frames.keyframes,
        "phash": phash(luma_THW).tolist(),
        "brightness": brightness(luma_THW),
        "motion": motion(luma_THW.astype(np.int16)),
    }


def _encode(frame_HWC: np.ndarray, jpeg_quality: int | None) -> bytes:
    if jpeg_quality is not None:
        return simplejpeg.encode_jpeg(frame_HWC, quality=jpeg_quality, colorsubsampling="444")
    buffer = io.BytesIO()
    Image.fromarray(frame_HWC).save(buffer, "WEBP", lossless=True)
    return buffer.getvalue()

"""How frames are taken from media: everything that decides a stored frame's bytes."""

import hashlib
import json
from typing import Literal

import numpy as np
from pydantic import Field

from stages.run.params import Params
from stages.video.resize import Kernel

FORMAT = 4  # of a stored row; a change of what a spec means counts it up, so that old rows are not found


class FrameSpec(Params):
    """Sampling, size and encoding of frames. `key` is the content address of the frames it gives for one clip."""

    policy: Literal["uniform", "fps"] = Field(
        description="uniform: max_frames over the clip; fps: as the reference, by duration"
    )
    max_frames: int = Field(ge=1, le=1024, description="frames per clip, fewer if the clip has fewer")
    min_frames: int = Field(default=4, ge=1, description="policy fps: lower limit")
    fps: float = Field(default=2.0, gt=0, description="policy fps: frames per second, before the limits")
    min_pixels: int = Field(ge=1, description="smaller frames are scaled up")
    max_pixels: int = Field(ge=1, description="larger frames are scaled down")
    factor: int = Field(ge=1, description="height and width are multiples of it: patch size x merge size")
    kernel: Kernel = Field(
        description="resize of video frames; images always use pillow's, as transformers and qwen-vl-utils do"
    )
    jpeg_quality: int | None = Field(default=95, ge=1, le=100, description="4:4:4 JPEG; null stores lossless WebP")
    max_corrupt: int = Field(default=0, ge=0, description="damaged frames that a clip may have")
    decoder: Literal["pyav", "decord"] = Field(
        default="pyav", description="decord: as the reference, wrong frames included"
    )

    def key(self, media_sha256: str, clip_start: float | None, clip_end: float | None) -> str:
        """Key of the frames of one clip in the store: a hash over spec, media bytes and clip bounds."""
        spec = self.model_dump(include=set(FrameSpec.model_fields))
        content = json.dumps([FORMAT, spec, media_sha256, clip_start, clip_end], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    def sample(self, n_frames: int, source_fps: float) -> np.ndarray:
        """Indices [T] of the frames to take out of `n_frames`, evenly from the first to the last (rounded linspace)."""
        count = min(self.max_frames, n_frames) if self.policy == "uniform" else self._count_by_fps(n_frames, source_fps)
        return np.linspace(0, n_frames - 1, count).round().astype(np.int64)

    def _count_by_fps(self, n_frames: int, source_fps: float) -> int:
        """qwen-vl-utils' smart_nframes: seconds * fps, clamped, rounded down to even. Unlike it, one frame is not an error."""
        lower = -(-self.min_frames // 2) * 2
        upper = min(self.max_frames, n_frames) // 2 * 2
        count = n_frames / source_fps * self.fps if source_fps else 0.0
        return max(1, int(min(max(count, lower), upper, n_frames)) // 2 * 2)

"""The frame spec: all that decides the bytes of a stored frame."""

import hashlib
import json
import math
from typing import Literal

import numpy as np
from pydantic import Field

from stages.run.params import Params
from stages.video.resize import Kernel

# Version of a stored row. A change of what a spec means counts it up, so that old rows are not found.
FORMAT = 5

FRAMES_OF_PAIR = 2  # frames that a vision tower merges, and that total_pixels counts once


class FrameSpec(Params):
    """Sampling, size and encoding of frames."""

    policy: Literal["uniform", "fps"] = Field(
        description="uniform: max_frames over the clip; fps: by its duration in seconds, as the reference does"
    )
    max_frames: int = Field(ge=1, le=1024, description="most frames per clip; all frames of a clip that has fewer")
    min_frames: int = Field(default=4, ge=1, description="policy fps: fewest frames per clip")
    fps: float = Field(
        default=2.0, gt=0, description="policy fps: frames per second of the clip, before the limits on their number"
    )
    min_pixels: int = Field(ge=1, description="pixels of a frame; smaller frames are scaled up")
    max_pixels: int = Field(ge=1, description="pixels of a frame; larger frames are scaled down")
    total_pixels: int | None = Field(
        default=None,
        ge=1,
        description="pixels of a clip, each pair of frames counted once: most visual tokens x factor x factor; longer "
        "clips have smaller frames, of at least 1.05 x min_pixels; null: no limit",
    )
    factor: int = Field(
        ge=1, description="pixels that height and width are multiples of: patch size x merge size of the model"
    )
    kernel: Kernel = Field(
        description="resize kernel of video frames; images always use pillow, as transformers and qwen-vl-utils do"
    )
    jpeg_quality: int | None = Field(
        default=95, ge=1, le=100, description="quality of the stored 4:4:4 JPEG, 1 to 100; null stores lossless WebP"
    )
    max_corrupt: int = Field(default=0, ge=0, description="most damaged packets and frames that a clip may have")
    decoder: Literal["pyav", "decord"] = Field(
        default="pyav",
        description="pyav: exact frames; decord: frames as the reference takes them, wrong ones included",
    )

    def key(self, media_sha256: str, clip_start: float | None, clip_end: float | None) -> str:
        """Key of a clip's frames in the store.

        It is a hash over the spec, the hash of the media and the clip's bounds in seconds.
        """
        spec = self.model_dump(include=set(FrameSpec.model_fields))
        if self.total_pixels is None:
            del spec["total_pixels"]  # the keys of stores that are older than this field
        content = json.dumps([FORMAT, spec, media_sha256, clip_start, clip_end], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    def sample(self, n_frames: int, source_fps: float) -> np.ndarray:
        """Indices [T] of the frames to take, evenly from first to last.

        `n_frames` is the number of frames to choose from, `source_fps` their rate.
        """
        count = min(self.max_frames, n_frames) if self.policy == "uniform" else self._count_by_fps(n_frames, source_fps)
        return np.linspace(0, n_frames - 1, count).round().astype(np.int64)

    def most_pixels(self, frames: int) -> int:
        """The most pixels of each frame of a video.

        It is max_pixels, or less where an equal share of total_pixels is less. As in qwen-vl-utils' fetch_video
        (0.0.14), a last frame without a pair counts as a pair, and no share is below 1.05 x min_pixels.
        """
        if self.total_pixels is None:
            return self.max_pixels
        share = self.total_pixels // math.ceil(frames / FRAMES_OF_PAIR)
        return min(self.max_pixels, max(share, int(self.min_pixels * 1.05)))

    def _count_by_fps(self, n_frames: int, source_fps: float) -> int:
        """qwen-vl-utils' smart_nframes: seconds * fps, clamped, rounded down to even.

        A clip of one frame is an error there, and gives one frame here.
        """
        lower = -(-self.min_frames // 2) * 2
        upper = min(self.max_frames, n_frames) // 2 * 2
        count = n_frames / source_fps * self.fps if source_fps else 0.0
        return max(1, int(min(max(count, lower), upper, n_frames)) // 2 * 2)

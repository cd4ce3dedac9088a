"""Qwen2-VL: a video's positions count its frame pairs."""

from typing import Any

from stages.model.family import VisionSize
from stages.model.qwen import Qwen


class Qwen2VL(Qwen):
    """Qwen2-VL."""

    def vision_size(self, config: Any) -> VisionSize:
        """Widths; every layer attends to whole frames.

        `hidden_size` of its config is the width of what the tower gives.
        """
        vision = config.vision_config
        return VisionSize(vision.embed_dim, int(vision.embed_dim * vision.mlp_ratio), vision.depth)


FAMILY = Qwen2VL()

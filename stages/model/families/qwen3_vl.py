"""Qwen3-VL: timed frames, and vision features for deeper layers (deepstack)."""

from typing import Any

from stages.model.family import VisionSize
from stages.model.qwen import TimedQwen


class Qwen3VL(TimedQwen):
    """Qwen3-VL."""

    def vision_size(self, config: Any) -> VisionSize:
        """Widths; every layer attends to whole frames."""
        vision = config.vision_config
        deepstack = len(vision.deepstack_visual_indexes)
        return VisionSize(vision.hidden_size, vision.intermediate_size, vision.depth, deepstack=deepstack)


FAMILY = Qwen3VL()

"""Qwen2.5-VL: a video's positions follow its time; most vision layers are windowed."""

from typing import Any

from stages.model.family import Medium, VisionSize
from stages.model.positions import seconds_per_grid
from stages.model.qwen import Qwen


class Qwen2_5VL(Qwen):
    """Qwen2.5-VL."""

    def interval(self, medium: Medium, config: Any) -> float:
        """`tokens_per_second` positions for each second of a video."""
        vision = config.vision_config
        if medium.data_type == "image":
            return 1.0
        return vision.tokens_per_second * seconds_per_grid(medium.pts_T, vision.temporal_patch_size)

    def vision_size(self, config: Any) -> VisionSize:
        """Widths; `fullatt_block_indexes` are the layers without windows."""
        vision = config.vision_config
        window = (vision.window_size // vision.patch_size) ** 2
        return VisionSize(vision.hidden_size, vision.intermediate_size, len(vision.fullatt_block_indexes), window)


FAMILY = Qwen2_5VL()

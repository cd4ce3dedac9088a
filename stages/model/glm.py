"""What the GLM-V families share."""

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from torch import Tensor

from stages.data.sample import DataType
from stages.model.family import Family, Medium, VideoText, VisionSize
from stages.model.positions import mrope_positions
from stages.run.errors import UserError

# The text of a frame pair's time, by the processor that writes it.
_STAMPS: dict[str, Callable[[float], str]] = {
    "Glm4vProcessor": lambda seconds: str(int(seconds)),
    "Glm46VProcessor": lambda seconds: f"{seconds:.1f} seconds",
}


class Glm(Family):
    """A video is a run of image tokens for each frame pair.

    The time of the pair stands after the run. Sources: transformers' Glm4vProcessor and Glm46VProcessor.
    """

    end_token = "<|user|>"  # the next turn's start; no token of its own ends the assistant's
    pads: ClassVar[Mapping[DataType, str]] = {"video": "<|video|>", "image": "<|image|>"}
    shared_token = "<|image|>"
    vision = "visual"
    language_layers = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_up_proj|down_proj)"
    vision_layers = r".*visual\.(blocks|merger)\..*(qkv|proj)"
    timed_frames = True

    def __init__(self, processor: str) -> None:
        """`processor` is the class that writes the times of a video."""
        self._stamp = _STAMPS[processor]

    def as_processed(self, processor: str | None) -> "Glm":
        """The family with the times of the processor that a folder names.

        GLM-4.6V-Flash is of type `glm4v` and names Glm46VProcessor. UserError for an unknown processor.
        """
        if processor is None:
            return self
        if processor not in _STAMPS:
            raise UserError(f"how {processor} writes a video's times is not known; use a model of {', '.join(_STAMPS)}")
        return Glm(processor)

    def shown(self, turn: str, medium: Medium, config: Any, video_text: VideoText) -> tuple[str, int]:
        """The template's text; a video's placeholder becomes its frame pairs.

        The time of a pair is that of its first frame.
        """
        steps, rows, columns = medium.merged
        if medium.data_type == "image":
            return turn, math.prod(medium.merged)
        times = medium.pts_T[:: config.vision_config.temporal_patch_size][:steps].tolist()
        frame = f"<|begin_of_image|>{self.shared_token}<|end_of_image|>"
        return turn.replace(self.pads["video"], "".join(frame + self._stamp(time) for time in times), 1), rows * columns

    def positions(self, is_vision_P: Tensor, medium: Medium, config: Any) -> Tensor:
        """M-RoPE positions [3, P], with a run for each frame pair."""
        steps, rows, columns = medium.merged
        return mrope_positions(is_vision_P, [(1, rows, columns)] * steps, 1.0)

    def portable_template(self, template: str, video_text: VideoText) -> str:
        """The template as it is: every release writes one text."""
        return template

    def vision_size(self, config: Any) -> VisionSize:
        """Widths; every layer attends to whole frames.

        A layer's inner width is `out_hidden_size`; `intermediate_size` is the merger's.
        """
        vision = config.vision_config
        return VisionSize(vision.hidden_size, vision.out_hidden_size, vision.depth)

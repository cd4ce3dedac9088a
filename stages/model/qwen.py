"""What the Qwen-VL families share."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from stages.data.sample import DataType
from stages.model.family import Family, Medium, VideoText
from stages.model.positions import group_seconds, mrope_positions

# `mlp.0` and `mlp.2` are a merger's, `fc1` and `fc2` are Qwen2-VL's
_LAYERS = r"(qkv|proj|gate_proj|up_proj|down_proj|linear_fc[12]|\.fc[12]|mlp\.[02])"


class Qwen(Family):
    """Each medium is one run of placeholders."""

    end_token = "<|im_end|>"
    pads: ClassVar[Mapping[DataType, str]] = {"video": "<|video_pad|>", "image": "<|image_pad|>"}
    vision = "visual"
    language_layers = r".*language_model.*\.(q|k|v|o|gate|up|down)_proj"
    vision_layers = rf".*visual\.(blocks|merger|deepstack_merger_list)\..*{_LAYERS}"
    timed_frames = False

    def shown(self, turn: str, medium: Medium, config: Any, video_text: VideoText) -> tuple[str, int]:
        """The template's text as it is; the placeholder stands for all tokens."""
        return turn, math.prod(medium.merged)

    def positions(self, is_vision_P: Tensor, medium: Medium, config: Any) -> Tensor:
        """M-RoPE positions [3, P], with one run of vision tokens."""
        return mrope_positions(is_vision_P, [medium.merged], self.interval(medium, config))

    def interval(self, medium: Medium, config: Any) -> float:
        """Positions from one temporal patch to the next."""
        return 1.0

    def portable_template(self, template: str, video_text: VideoText) -> str:
        """The template as it is: every release writes one text."""
        return template


class TimedQwen(Qwen):
    """Each frame pair of a video is a time and placeholders."""

    timed_frames = True

    def shown(self, turn: str, medium: Medium, config: Any, video_text: VideoText) -> tuple[str, int]:
        """The text with each frame pair's time and placeholder.

        For each pair it has `<0.2 seconds>`, the start token, the placeholder and the end token. They take the place of
        the template's start token, placeholder and end token, or of the placeholder alone.
        """
        steps, rows, columns = medium.merged
        if medium.data_type == "image":
            return turn, steps * rows * columns
        pad = self.pads["video"]
        frame = _enclosed(pad)
        times = group_seconds(medium.pts_T, config.vision_config.temporal_patch_size)
        timed_frames = "".join(f"<{seconds:.1f} seconds>{frame}" for seconds in times)
        replaced = frame if frame in turn and video_text == "frames" else pad
        return turn.replace(replaced, timed_frames, 1), rows * columns

    def positions(self, is_vision_P: Tensor, medium: Medium, config: Any) -> Tensor:
        """M-RoPE positions [3, P], with a run of tokens per temporal patch."""
        steps, rows, columns = medium.merged
        return mrope_positions(is_vision_P, [(1, rows, columns)] * steps, 1.0)

    def portable_template(self, template: str, video_text: VideoText) -> str:
        """The template that shows a video as its placeholder alone.

        For `<|video_pad|>` alone each release writes the timed frames and nothing around them. With a start and an end
        token around it, transformers 4.57 replaces all three, transformers 5.10 and later only the middle one.
        """
        pad = self.pads["video"]
        return template.replace(_enclosed(pad), pad) if video_text == "frames" else template


def _enclosed(pad: str) -> str:
    return f"<|vision_start|>{pad}<|vision_end|>"

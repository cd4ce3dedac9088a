"""Qwen3.5: three of four language layers have a recurrent state.

These layers are linear attention.
"""

from typing import Any

from transformers.models.qwen3_5.modeling_qwen3_5 import Qwen3_5GatedDeltaNet

from stages.model.family import Recurrence, VisionSize
from stages.model.qwen import TimedQwen


class Qwen3_5(TimedQwen):
    """Qwen3.5."""

    language_layers = r".*language_model.*\.((q|k|v|o|gate|up|down)_proj|in_proj_(qkv|z|b|a)|out_proj)"
    recurrent_layer = Qwen3_5GatedDeltaNet

    def recurrence(self, config: Any) -> Recurrence:
        """The Gated DeltaNet layers."""
        text = config.text_config
        heads, key, value = text.linear_num_value_heads, text.linear_key_head_dim, text.linear_value_head_dim
        return Recurrence(
            layers=tuple(layer for layer, kind in enumerate(text.layer_types) if kind == "linear_attention"),
            heads=heads,
            key=key,
            value=value,
            channels=2 * text.linear_num_key_heads * key + heads * value,
            kernel=text.linear_conv_kernel_dim,
        )

    def vision_size(self, config: Any) -> VisionSize:
        """Widths; every layer attends to whole frames."""
        vision = config.vision_config
        return VisionSize(vision.hidden_size, vision.intermediate_size, vision.depth)


FAMILY = Qwen3_5()

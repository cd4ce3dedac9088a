"""Qwen3-VL with a mixture of experts in its language layers."""

from typing import Any

from stages.model.families.qwen3_vl import Qwen3VL
from stages.model.family import Experts


class Qwen3VLMoe(Qwen3VL):
    """Qwen3-VL-MoE."""

    router = ("mlp.gate.weight",)
    expert_weights = ("mlp.experts.gate_up_proj", "mlp.experts.down_proj")
    transposed_experts = True

    def experts(self, config: Any) -> Experts:
        """The experts of a layer."""
        text = config.text_config
        return Experts(text.num_experts, text.num_experts_per_tok, text.moe_intermediate_size)


FAMILY = Qwen3VLMoe()

"""Qwen3.5 with a mixture of experts in its language layers."""

from typing import Any

from transformers.models.qwen3_5_moe.modeling_qwen3_5_moe import Qwen3_5MoeGatedDeltaNet

from stages.model.families.qwen3_5 import Qwen3_5
from stages.model.family import Experts


class Qwen3_5Moe(Qwen3_5):
    """Qwen3.5-MoE: each token also goes through a shared expert."""

    recurrent_layer = Qwen3_5MoeGatedDeltaNet
    router = ("mlp.gate.weight",)
    expert_weights = ("mlp.experts.gate_up_proj", "mlp.experts.down_proj")

    def experts(self, config: Any) -> Experts:
        """The experts of a layer."""
        text = config.text_config
        width, shared = text.moe_intermediate_size, text.shared_expert_intermediate_size
        return Experts(text.num_experts, text.num_experts_per_tok, width, shared)


FAMILY = Qwen3_5Moe()

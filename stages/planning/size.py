"""Sizes of a model, counted from its config without weights."""

import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers.models.auto.modeling_auto import AutoModelForImageTextToText

from stages.model.family import Recurrence, family_of
from stages.model.recurrent import missing_kernels

CHUNK = 64  # tokens that linear attention computes together


@dataclass(frozen=True)
class ModelSize:
    """Parameter counts and widths.

    `blocks` are the language model's layers and last norm. `head` is 0 where the embedding is the head. `adapter` is
    the number of adapter parameters per rank, `vision_adapter` that of the vision tower. `deepstack` is the number of
    language layers that take vision features besides. `window` is the number of patches that a windowed vision layer
    attends to.

    `normed_heads` is the number of heads whose queries or keys have a norm, `normed_results` that of norms on what
    attention and MLP of a layer give. `recurrence` are the layers of linear attention.

    In a mixture of experts a token goes through `routed` of a layer's experts, which are `intermediate` wide together.
    Of all `expert_weights` in `blocks` it leaves out `unrouted`. `expert_adapter` is the number of adapter parameters
    per rank of all experts. A dense model has 0 of each.
    """

    blocks: int
    embedding: int
    head: int
    vision: int
    merger: int
    adapter: int
    vision_adapter: int
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    deepstack: int
    vision_layers: int
    vision_full_layers: int
    vision_hidden: int
    vision_intermediate: int
    patch: int
    merge: int
    temporal: int
    window: int
    normed_heads: int = 0
    normed_results: int = 0
    routed: int = 0
    expert_weights: int = 0
    unrouted: int = 0
    expert_adapter: int = 0
    recurrence: Recurrence | None = None

    @property
    def recurrent_layers(self) -> int:
        """How many language layers have a recurrent state."""
        return len(self.recurrence.layers) if self.recurrence else 0

    @property
    def attention_layers(self) -> int:
        """How many language layers have keys and values."""
        return self.layers - self.recurrent_layers

    @property
    def scan_flops(self) -> float:
        """Floating point operations per token of all recurrences.

        They are products with the chunk's tokens and with the state.
        """
        if self.recurrence is None:
            return 0.0
        key, value = self.recurrence.key, self.recurrence.value
        return 2 * self.recurrent_layers * self.recurrence.heads * (CHUNK * (3 * key + 2 * value) + 3 * key * value)

    @property
    def total(self) -> int:
        """All parameters."""
        return self.blocks + self.embedding + self.head + self.vision


def described(size: ModelSize) -> str:
    """The sizes as text for a person.

    With layers of linear attention it also says whether transformers computes these without kernels.
    """
    text = f"{size.total / 1e6:.2f} M parameters, of which vision {size.vision / 1e6:.2f} M"
    if size.recurrence and (missing := missing_kernels()):
        text += "\n  linear attention runs in PyTorch, slower and with the memory below: for kernels install "
        text += " and ".join(missing)
    return text


def model_size(config: Any) -> ModelSize:
    """The sizes of a model of this config."""
    family = family_of(config)
    with torch.device("meta"):
        model: Any = AutoModelForImageTextToText.from_config(config)
    text, vision = config.text_config, config.vision_config
    language = model.model.language_model
    embedding, head = language.embed_tokens.weight, model.lm_head.weight
    tower, widths = family.tower(model), family.vision_size(config)
    experts, heads, kv_heads = family.experts(config), text.num_attention_heads, text.num_key_value_heads
    head_dim = getattr(text, "head_dim", None) or text.hidden_size // heads
    layer = language.layers[family.recurrent(config).index(False)]
    attention = layer.self_attn
    weights = [weight for name, weight in model.named_parameters() if name.endswith(family.expert_weights)]
    return ModelSize(
        blocks=_count(language) - embedding.numel(),
        embedding=embedding.numel(),
        head=0 if head is embedding else head.numel(),
        vision=_count(tower),
        merger=sum(_count(module) for name, module in tower.named_children() if re.search("merger|downsample", name)),
        adapter=_adapter(model, family.language_layers),
        vision_adapter=_adapter(model, family.vision_layers),
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        intermediate=experts.per_token * experts.intermediate + experts.shared if experts else text.intermediate_size,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        vocabulary=text.vocab_size,
        deepstack=widths.deepstack,
        vision_layers=vision.depth,
        vision_full_layers=widths.full_layers,
        vision_hidden=widths.hidden,
        vision_intermediate=widths.intermediate,
        patch=vision.patch_size,
        merge=vision.spatial_merge_size,
        temporal=vision.temporal_patch_size,
        window=widths.window,
        normed_heads=heads + kv_heads if hasattr(attention, "q_norm") else 0,
        normed_results=sum("norm" in name for name, _ in layer.named_children()) - 2,
        routed=experts.per_token if experts else 0,
        expert_weights=sum(weight.numel() for weight in weights),
        unrouted=sum(weight[experts.per_token :].numel() for weight in weights) if experts else 0,
        expert_adapter=sum(count * (out + into) for count, out, into in (weight.shape for weight in weights)),
        recurrence=family.recurrence(config),
    )


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _adapter(model: nn.Module, layers: str) -> int:
    """Adapter parameters per rank of the linear layers of these names."""
    return sum(
        module.in_features + module.out_features
        for name, module in model.named_modules()
        if re.fullmatch(layers, name) and isinstance(module, nn.Linear)
    )

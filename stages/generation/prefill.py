"""The prompts' pass through the model."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from transformers.modeling_utils import PreTrainedModel

from stages.generation.attention import Prefix
from stages.model.inputs import Prompt, PromptBuilder
from stages.model.transfer import on_device


def prefill(
    model: PreTrainedModel,
    builder: PromptBuilder,
    prompts: Sequence[Prompt],
    prefix: Prefix,
    places: Sequence[int],
    media: Mapping[str, object] | None = None,
) -> Tensor:
    """Put the prompts at their places.

    Returns the next token's logits [B, V].

    `media` is the prompts' media in place of their pixels.
    """
    batch = builder.batch(prompts, padding="left", pixels=media is None)
    inputs = {name: on_device(value, model.device) for name, value in batch.items()}
    prefix.write_to(places, [len(prompt.ids_P) for prompt in prompts])
    return model(
        **builder.normalised(inputs), **(media or {}), past_key_values=prefix.cache, use_cache=True, logits_to_keep=1
    ).logits[:, -1]


def end_ids(model: PreTrainedModel, builder: PromptBuilder) -> list[int]:
    """The tokens that end a response, of template and configuration."""
    configured = model.generation_config.eos_token_id if model.generation_config else None
    ids = configured if isinstance(configured, list) else [configured]
    return sorted({builder.end_id, *(token for token in ids if token is not None)})


def uniforms(count: int, length: int, seed: int) -> Tensor:
    """Random numbers in [0, 1) that draw tokens, [count, length]."""
    return torch.rand(count, length, generator=torch.Generator().manual_seed(seed))

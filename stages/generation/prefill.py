"""The prompts' pass through the model."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from transformers.modeling_utils import PreTrainedModel

from stages.generation.attention import Prefix
from stages.model.inputs import Prompt, PromptBuilder
from stages.model.transfer import on_device

PASS_TOKENS = 2048  # tokens of padding that a further pass must save: it reads all weights once more


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


def passes(lengths: Sequence[int]) -> list[list[int]]:
    """Shares prompts out over passes so that padding costs least.

    A pass costs its prompts, padded to the longest of them, and PASS_TOKENS. Prompts of like length go together, the
    shortest first; the best cuts are those of a shortest path.
    """
    order = sorted(range(len(lengths)), key=lambda prompt: (lengths[prompt], prompt))
    best: list[tuple[int, list[list[int]]]] = [(0, [])]  # cost and passes of the first prompts of the order
    for end in range(1, len(order) + 1):
        longest = lengths[order[end - 1]]
        cost, start = min((best[start][0] + PASS_TOKENS + (end - start) * longest, start) for start in range(end))
        best.append((cost, [*best[start][1], sorted(order[start:end])]))
    return best[-1][1]


def end_ids(model: PreTrainedModel, builder: PromptBuilder) -> list[int]:
    """The tokens that end a response, of template and configuration."""
    configured = model.generation_config.eos_token_id if model.generation_config else None
    ids = configured if isinstance(configured, list) else [configured]
    return sorted({builder.end_id, *(token for token in ids if token is not None)})


def uniforms(count: int, length: int, seed: int) -> Tensor:
    """Random numbers in [0, 1) that draw tokens, [count, length]."""
    return torch.rand(count, length, generator=torch.Generator().manual_seed(seed))

"""The prompts' pass through the model, and all that decoding starts from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache
from transformers.modeling_utils import PreTrainedModel

from stages.generation.attention import Prefix
from stages.generation.sampling import Sampling
from stages.model.inputs import Prompt, PromptBuilder


@dataclass(frozen=True)
class Prefilled:
    """R rows, each to go on from one of B prompts.

    logits_RV are those after the prompt. prompt_R is each row's prompt, position_R the position of its first token.
    uniform_RC are the numbers that draw its tokens. A row ends with one of end_ids; banned_ids are never drawn.
    """

    prefix: Prefix
    logits_RV: Tensor
    prompt_R: Tensor
    position_R: Tensor
    uniform_RC: Tensor
    end_ids: Tensor
    banned_ids: Tensor
    pad_id: int


def prefill(
    model: PreTrainedModel,
    builder: PromptBuilder,
    prompts: Sequence[Prompt],
    counts: Sequence[int],
    sampling: Sampling,
    seeds: Sequence[int],
    media: Mapping[str, object] | None,
) -> Prefilled:
    """Pass the prompts through the model; prompt b has `counts[b]` rows."""
    batch = builder.batch(prompts, padding="left", pixels=media is None)
    inputs = {name: value.to(model.device) for name, value in batch.items()}
    cache = DynamicCache(config=model.config)
    logits_B1V = model(
        **builder.normalised(inputs), **(media or {}), past_key_values=cache, use_cache=True, logits_to_keep=1
    ).logits
    prompt_R = torch.arange(len(prompts)).repeat_interleave(torch.tensor(counts)).to(model.device)
    return Prefilled(
        prefix=Prefix.of(cache, inputs["attention_mask"], prompt_R),
        logits_RV=logits_B1V[prompt_R, -1],
        prompt_R=prompt_R,
        position_R=torch.tensor([prompt.next_position for prompt in prompts], device=model.device)[prompt_R],
        uniform_RC=_uniforms(counts, seeds, sampling.max_new_tokens).to(model.device),
        end_ids=torch.tensor(end_ids(model, builder), device=model.device),
        banned_ids=torch.tensor(builder.banned_ids, device=model.device),
        pad_id=builder.pad_id,
    )


def end_ids(model: PreTrainedModel, builder: PromptBuilder) -> list[int]:
    """The tokens that end a response, of template and configuration."""
    configured = model.generation_config.eos_token_id if model.generation_config else None
    ids = configured if isinstance(configured, list) else [configured]
    return sorted({builder.end_id, *(token for token in ids if token is not None)})


def _uniforms(counts: Sequence[int], seeds: Sequence[int], length: int) -> Tensor:
    """Numbers in [0, 1), those of each prompt from its own seed."""
    return torch.cat(
        [
            torch.rand(count, length, generator=torch.Generator().manual_seed(seed))
            for count, seed in zip(counts, seeds, strict=True)
        ]
    )

"""The plain way to generate, to compare with: one prompt at a time, in transformers' own cache."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import LongTensor, Tensor
from transformers.cache_utils import DynamicCache
from transformers.modeling_utils import PreTrainedModel

from stages.generation.generate import Completion, Job
from stages.generation.prefill import uniforms
from stages.generation.sampling import Sampling, choose
from stages.model.adapters import Lora, add_lora
from stages.model.inputs import Prompt, PromptBuilder


def jobs(prompts: Sequence[Prompt], counts: Sequence[int]) -> list[Job]:
    """The prompts in turn, with so many rows and a seed of their own."""
    return [Job(prompts[index % len(prompts)], count, seed=index) for index, count in enumerate(counts)]


@torch.no_grad()
def plain_rows(
    model: PreTrainedModel, builder: PromptBuilder, job: Job, sampling: Sampling
) -> list[tuple[list[int], Tensor]]:
    """Tokens and log-probabilities of a job's rows, each up to its end token.

    All rows are decoded to the last column, whatever they say.
    """
    prompt, cache = job.prompt, DynamicCache(config=model.config)
    inputs = {name: value.to(model.device) for name, value in builder.batch([prompt]).items()}
    logits_RV = model(**builder.normalised(inputs), past_key_values=cache, use_cache=True).logits[:, -1]
    logits_RV = logits_RV.repeat(job.count, 1)
    the_prompt = torch.zeros(job.count, dtype=torch.long, device=model.device)
    cache.reorder_cache(cast(LongTensor, the_prompt))  # once per row
    uniform_RC = uniforms(job.count, sampling.max_new_tokens, job.seed).to(model.device)
    banned_ids, drawn, scored = torch.tensor(builder.banned_ids, device=model.device), [], []
    for column in range(sampling.max_new_tokens):
        ids_R = choose(logits_RV, uniform_RC[:, column], sampling, banned_ids)
        drawn.append(ids_R)
        scored.append((logits_RV / (sampling.temperature or 1)).log_softmax(1)[torch.arange(len(ids_R)), ids_R])
        positions = torch.full((3, len(ids_R), 1), prompt.next_position + column, device=model.device)
        logits_RV = model(input_ids=ids_R[:, None], position_ids=positions, past_key_values=cache, use_cache=True)
        logits_RV = logits_RV.logits[:, -1]
    rows = []
    for ids_C, logps_C in zip(torch.stack(drawn, 1).tolist(), torch.stack(scored, 1).cpu(), strict=True):
        length = ids_C.index(builder.end_id) + 1 if builder.end_id in ids_C else len(ids_C)
        rows.append((ids_C[:length], logps_C[:length]))
    return rows


def same(found: Sequence[Completion], expected: Sequence[tuple[list[int], Tensor]]) -> None:
    """AssertionError unless tokens are equal and log-probabilities to rounding."""
    assert [row.ids_C.tolist() for row in found] == [ids for ids, _ in expected]
    for row, (_, logps_C) in zip(found, expected, strict=True):
        assert torch.allclose(row.logps_C, logps_C, atol=1e-5)


def adapted(model: PreTrainedModel) -> PreTrainedModel:
    """The model with adapters that change what it says."""
    policy = cast(PreTrainedModel, add_lora(model, Lora(rank=2, alpha=8)).eval())
    generator = torch.Generator().manual_seed(0)
    for name, weight in policy.named_parameters():
        if "lora_B" in name:
            weight.data = 0.3 * torch.randn(weight.shape, generator=generator)
    return policy


def favour_end(model: PreTrainedModel, builder: PromptBuilder, by: float) -> None:
    """Add `by` to the logit of the end token."""
    bias = torch.zeros(model.config.text_config.vocab_size)
    bias[builder.end_id] = by
    model.get_submodule("lm_head").bias = torch.nn.Parameter(bias, requires_grad=False)

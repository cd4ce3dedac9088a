"""Generation for rollouts and evaluation: each prompt is prefilled once.

All rows that go on from it are decoded together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache
from transformers.modeling_utils import PreTrainedModel

from stages.generation.decoding import OwnCache, Prefix, shared_prefix
from stages.model.inputs import Prompt, PromptBuilder


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn.

    Temperature 0 is greedy. top_p keeps the smallest set of likeliest tokens whose probabilities add up to it.
    """

    max_new_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0


@dataclass(frozen=True)
class Completion:
    """One response: its tokens ids_C (the end token included) and its text.

    logps_C are the tokens' log-probabilities under the raw logits, at temperature 1 and without top_p. `truncated` says
    whether the token limit cut the response off.
    """

    ids_C: Tensor
    logps_C: Tensor
    text: str
    truncated: bool


@torch.no_grad()
def generate(
    model: PreTrainedModel,
    builder: PromptBuilder,
    prompts: Sequence[Prompt],
    counts: Sequence[int],
    sampling: Sampling,
    seeds: Sequence[int],
    media: Mapping[str, object] | None = None,
) -> list[list[Completion]]:
    """`counts[b]` completions of each prompt b, drawn with `seeds[b]`.

    A prompt's completions do not depend on the prompts beside it (but for rounding): its random numbers come from its
    own seed. `media` is the prompts' media in place of their pixels. Placeholder tokens are never drawn. `model` is in
    eval mode meanwhile, because gradient checkpointing would drop the cache.
    """
    was_training = model.training
    model.eval()
    try:
        ids_RC, logps_RC = _decode(model, builder, prompts, counts, sampling, seeds, media)
    finally:
        model.train(was_training)
    completions = iter(
        _completion(ids_C, logps_C, builder, _end_ids(model, builder))
        for ids_C, logps_C in zip(ids_RC, logps_RC, strict=True)
    )
    return [[next(completions) for _ in range(count)] for count in counts]


def _decode(
    model: PreTrainedModel,
    builder: PromptBuilder,
    prompts: Sequence[Prompt],
    counts: Sequence[int],
    sampling: Sampling,
    seeds: Sequence[int],
    media: Mapping[str, object] | None,
) -> tuple[Tensor, Tensor]:
    """Token ids and log-probabilities [R, C] on the CPU.

    Padding follows the end token of a row.
    """
    inputs = {
        name: value.to(model.device)
        for name, value in builder.batch(prompts, padding="left", pixels=media is None).items()
    }
    cache = DynamicCache(config=model.config)
    prefill = model(
        **builder.normalised(inputs), **(media or {}), past_key_values=cache, use_cache=True, logits_to_keep=1
    )
    prompt_R = torch.arange(len(prompts)).repeat_interleave(torch.tensor(counts)).to(model.device)
    logits_RV = prefill.logits[prompt_R, -1]
    prefix, own = Prefix.of(cache, inputs["attention_mask"], prompt_R), OwnCache(len(cache.layers))
    position_R = torch.tensor([prompt.next_position for prompt in prompts], device=model.device)[prompt_R]
    uniform_RC = _uniforms(counts, seeds, sampling.max_new_tokens).to(model.device)
    end_ids = torch.tensor(_end_ids(model, builder), device=model.device)
    banned_ids = torch.tensor(builder.banned_ids, device=model.device)

    ids_RC = torch.full_like(uniform_RC, builder.pad_id, dtype=torch.long)
    logps_RC = torch.zeros_like(uniform_RC)
    active_A = torch.arange(len(prompt_R), device=model.device)  # the rows still decoded, as rows of the results
    with shared_prefix(model):
        for step in range(sampling.max_new_tokens):
            ids_A = choose(logits_RV.float(), uniform_RC[active_A, step], sampling, banned_ids)
            ids_RC[active_A, step] = ids_A
            logps_RC[active_A, step] = logits_RV.float().log_softmax(-1).gather(1, ids_A[:, None])[:, 0]
            going_A = ~torch.isin(ids_A, end_ids)
            if step + 1 == sampling.max_new_tokens or not going_A.any():
                break
            if not going_A.all():
                keep = going_A.nonzero()[:, 0]
                active_A, ids_A = active_A[keep], ids_A[keep]
                prefix.keep(prompt_R[active_A])
                own.keep(keep)
            logits_RV = model(
                input_ids=ids_A[:, None],
                position_ids=(position_R[active_A] + step)[None, :, None].expand(3, -1, 1),
                past_key_values=own,
                use_cache=True,
                prefix=prefix,
            ).logits[:, -1]
    return ids_RC.cpu(), logps_RC.cpu()


def choose(logits_RV: Tensor, uniform_R: Tensor, sampling: Sampling, banned_ids: Tensor) -> Tensor:
    """The next token of each row, drawn by a number in [0, 1).

    It is the token whose share of the cumulated distribution holds that number. Tokens cumulate in the order of their
    ids, so that nothing is sorted.
    """
    logits_RV = logits_RV.index_fill(1, banned_ids, -torch.inf)
    if sampling.temperature == 0:
        return logits_RV.argmax(dim=1)
    probs_RV = (logits_RV / sampling.temperature).softmax(dim=1)
    cumulated_RV = (nucleus(probs_RV, sampling.top_p) if sampling.top_p < 1 else probs_RV).cumsum(dim=1)
    total_R1 = cumulated_RV[:, -1:]
    # Rounding must not lead past the last token that is kept.
    below_total_R1 = torch.nextafter(total_R1, torch.zeros_like(total_R1))
    place_R1 = torch.searchsorted(
        cumulated_RV, torch.minimum(uniform_R[:, None] * total_R1, below_total_R1), right=True
    )
    return place_R1[:, 0].clamp(max=logits_RV.shape[1] - 1)  # beyond it only for NaN, which training reports


def nucleus(probs_RV: Tensor, top_p: float) -> Tensor:
    """The probabilities of the likeliest tokens that together reach `top_p`, 0 elsewhere.

    Tokens as likely as the last of them stay too. Non-negative float32 numbers are ordered as their bits are. So the
    least probability that stays is found 10 bits at a time, from histograms of probability: three passes over the
    vocabulary instead of a sort.
    """
    bits_RV, rows = probs_RV.view(torch.int32), len(probs_RV)
    first_R1 = torch.arange(rows, device=probs_RV.device)[:, None] * 1024
    least_R1, above_R1 = torch.zeros_like(bits_RV[:, :1]), torch.zeros_like(probs_RV[:, :1])
    for shift in (20, 10, 0):
        place_RV = first_R1 + (bits_RV >> shift & 1023)
        inside_RV = probs_RV * (bits_RV >> shift + 10 == least_R1)
        masses_RK = (
            probs_RV.new_zeros(rows * 1024).scatter_add_(0, place_RV.flatten(), inside_RV.flatten()).view(rows, 1024)
        )
        reached_RK = above_R1 + masses_RK.flip(1).cumsum(dim=1).flip(1)  # by this bucket and all higher ones
        bucket_R1 = (reached_RK >= top_p).sum(dim=1, keepdim=True).clamp(min=1) - 1
        above_R1 = reached_RK.gather(1, bucket_R1) - masses_RK.gather(1, bucket_R1)
        least_R1 = least_R1 << 10 | bucket_R1
    return probs_RV * (bits_RV >= least_R1)


def _uniforms(counts: Sequence[int], seeds: Sequence[int], length: int) -> Tensor:
    return torch.cat(
        [
            torch.rand(count, length, generator=torch.Generator().manual_seed(seed))
            for count, seed in zip(counts, seeds, strict=True)
        ]
    )


def _end_ids(model: PreTrainedModel, builder: PromptBuilder) -> list[int]:
    configured = model.generation_config.eos_token_id if model.generation_config else None
    ids = configured if isinstance(configured, list) else [configured]
    return sorted({builder.end_id, *(token for token in ids if token is not None)})


def _completion(ids_C: Tensor, logps_C: Tensor, builder: PromptBuilder, end_ids: list[int]) -> Completion:
    ends = torch.isin(ids_C, torch.tensor(end_ids)).nonzero()[:, 0].tolist()
    length = ends[0] + 1 if ends else len(ids_C)
    return Completion(ids_C[:length], logps_C[:length], builder.decode(ids_C[:length]), truncated=not ends)

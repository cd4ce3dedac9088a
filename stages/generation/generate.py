"""Generation for rollouts and evaluation: each prompt is prefilled once.

All rows that go on from it are decoded together: on the CPU in room that grows, on a GPU in fixed room.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers.modeling_utils import PreTrainedModel

from stages.generation.fixed import decode_fixed
from stages.generation.growing import decode_growing
from stages.generation.prefill import prefill
from stages.generation.sampling import Sampling
from stages.model.inputs import Prompt, PromptBuilder


@dataclass(frozen=True)
class Completion:
    """One response: its tokens ids_C (the end token included) and its text.

    logps_C are the tokens' log-probabilities at the temperature of sampling (1 if that is 0) and without top_p.
    `truncated` says whether the token limit cut the response off.
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
        start = prefill(model, builder, prompts, counts, sampling, seeds, media)
        decode = decode_fixed if model.device.type == "cuda" else decode_growing
        ids_RC, logps_RC = (values.cpu() for values in decode(model, start, sampling))
    finally:
        model.train(was_training)
    ends = start.end_ids.cpu()
    completions = iter(
        _completion(ids_C, logps_C, builder, ends) for ids_C, logps_C in zip(ids_RC, logps_RC, strict=True)
    )
    return [[next(completions) for _ in range(count)] for count in counts]


def _completion(ids_C: Tensor, logps_C: Tensor, builder: PromptBuilder, end_ids: Tensor) -> Completion:
    ends = torch.isin(ids_C, end_ids).nonzero()[:, 0].tolist()
    length = ends[0] + 1 if ends else len(ids_C)
    return Completion(ids_C[:length], logps_C[:length], builder.decode(ids_C[:length]), truncated=not ends)

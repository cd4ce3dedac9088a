"""Micro-batches of a T-GRPO step: packed groups with what their loss needs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from stages.model.inputs import PromptBuilder
from stages.model.transfer import on_device
from stages.model.vision import Media, encoded_media, joint_media
from stages.rl.grading import GradedGroup
from stages.rl.rewards import RewardParams, Rewards, idle
from stages.rl.rollout import Group
from stages.rl.scoring import Packed, pack


@dataclass
class MicroBatch:
    """What one forward and backward needs.

    `sampled_logps_RC` are the log-probabilities that sampling had. The first update fills `old_logps_RC`: the policy is
    then still the one that sampled. `token_weights_RC` weigh the policy gradient (`response_weights`).
    """

    packed: Packed
    media: Media
    advantages_R: Tensor
    sampled_logps_RC: Tensor
    reference_logps_RC: Tensor | None = None
    old_logps_RC: Tensor | None = None
    token_weights_RC: Tensor | None = None


def micro_batch(
    builder: PromptBuilder,
    groups: Sequence[Group],
    advantages_BG: Tensor,
    device: torch.device,
    weights: Sequence[Sequence[Tensor]] | None = None,
) -> MicroBatch:
    """Groups packed into one row, without the reference's scores."""
    prompts = [group.question.ordered for group in groups]
    packed = pack(prompts, [[response.ids_C for response in group.ordered] for group in groups]).to(device)
    features = [group.features for group in groups if group.features is not None]
    if features:
        media = encoded_media(features)
    else:
        ids_1L, media = joint_media(builder, packed.input_ids_1L, prompts, device)
        packed = replace(packed, input_ids_1L=ids_1L)
    sampled_logps_RC = pad_sequence([row.logps_C for group in groups for row in group.ordered], batch_first=True)
    advantages_R = on_device(advantages_BG.flatten().float(), device)
    batch = MicroBatch(packed, media, advantages_R, on_device(sampled_logps_RC, device))
    if weights is not None:
        rows = [weights_C for group in weights for weights_C in group]
        batch.token_weights_RC = on_device(pad_sequence(rows, batch_first=True), device)
    return batch


def response_weights(
    groups: Sequence[GradedGroup], condition_B: Tensor, params: RewardParams
) -> list[list[Tensor]] | None:
    """The token weights of each response, [C], if the mode has any.

    They are 1 where the question has no temporal term.
    """
    weigh = params.mode.weigh_tokens
    if weigh is None:
        return None
    return [
        [weigh(gain.tokens_C, params.alpha) for gain in graded.gains]
        if has_term
        else [torch.ones_like(response.logps_C) for response in graded.group.ordered]
        for graded, has_term in zip(groups, condition_B.tolist(), strict=True)
    ]


def weight_effect(advantages_BG: Tensor, weights: Sequence[Sequence[Tensor]]) -> Tensor:
    """How far weights move the advantages.

    That is the mean |A w_t − A| over the tokens of each response, then over responses.
    """
    spread_BG = torch.tensor([[float((weights_C - 1).abs().mean()) for weights_C in row] for row in weights])
    return (advantages_BG.abs() * spread_BG).mean()


def trained_groups(rewards: Rewards, sizes: Sequence[int], keep_idle: bool) -> list[list[int]]:
    """The groups that each micro-batch trains on.

    `sizes` are the numbers of groups that the micro-batches were given. Groups without an advantage are left out unless
    `keep_idle`. A micro-batch that would be empty keeps its first group, for the KL term alone.
    """
    idle_B = idle(rewards) & (not keep_idle)
    batches_b = torch.arange(len(idle_B)).split(list(sizes))
    return [batch_b[~idle_B[batch_b]].tolist() or batch_b[:1].tolist() for batch_b in batches_b]

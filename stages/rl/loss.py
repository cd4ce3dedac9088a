"""The policy loss: clipped surrogate + β · KL, with TRL's names."""

from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from stages.rl.mismatch import CorrectionMode
from stages.run.params import Params

LossName = Literal["grpo", "dapo", "dr_grpo", "bnpo", "cispo"]
Importance = Literal["token", "sequence"]


class LossParams(Params):
    """The policy loss; the defaults are the paper's GRPO.

    The ratio π / π_old is kept in [1 − clip_low, 1 + clip_high]. This acts from the second update of a rollout on.
    """

    name: LossName = Field(
        default="grpo",
        description="how token losses are averaged (grpo, dapo, dr_grpo, bnpo), or cispo, which keeps the gradient of "
        "clipped tokens; TRL's names",
    )
    importance: Importance = Field(
        default="token",
        description="whether the ratio is that of each token or the geometric mean of a sequence (GSPO)",
    )
    clip_low: float = Field(
        default=0.2, ge=0, description="how far below 1 the ratio may fall; 1 is no bound, as TRL has it in cispo"
    )
    clip_high: float = Field(
        default=0.2,
        ge=0,
        description="how far above 1 the ratio may rise; TRL's epsilon_high of cispo is 1 + clip_high",
    )
    beta: float = Field(default=0.04, ge=0, description="weight of the KL to the reference; 0 needs no reference")
    kl_clamp: float | None = Field(
        default=10.0, gt=0, description="bound of the log-ratio inside the KL estimate, in nats; null is no bound"
    )
    importance_sampling_mode: CorrectionMode | None = Field(
        default=None,
        description="weight the loss by π_scored / π_sampled, of each token or sequence; a ratio above the bound "
        "becomes the bound (token_truncate, sequence_truncate: TIS, verl's rollout_is token and sequence) or 0 "
        "(token_mask, sequence_mask); TRL's vllm_importance_sampling_mode; null: token_truncate where servers draw "
        "the responses (rollout), else off",
    )
    importance_sampling_clip_max: float = Field(
        default=3.0,
        gt=0,
        description="bound of that ratio; TRL's vllm_importance_sampling_clip_max, verl's rollout_is_threshold",
    )


@dataclass(frozen=True)
class StepSize:
    """Mean rows and completion tokens of a micro-batch.

    The mean is over the optimizer step and all processes.
    """

    rows: float
    tokens: float


def importance_ratios(logps_RC: Tensor, old_logps_RC: Tensor, mask_RC: Tensor, level: Importance) -> Tensor:
    """π_θ / π_old per token, [R, C], or per sequence, [R, 1].

    The ratio of a sequence is the geometric mean over its tokens. It is GSPO's (arXiv 2507.18071, equation 7).
    """
    log_ratios_RC = (logps_RC - old_logps_RC) * mask_RC
    if level == "sequence":
        log_ratios_RC = log_ratios_RC.sum(dim=1, keepdim=True) / mask_RC.sum(dim=1, keepdim=True).clamp(min=1)
    return log_ratios_RC.exp()


def surrogate(logps_RC: Tensor, ratios: Tensor, advantages_R: Tensor, params: LossParams) -> Tensor:
    """−min(r A, clip(r) A) per token (PPO, arXiv 1707.06347, equation 7).

    `cispo` (arXiv 2506.13585, equation 4) is −clip(r) A log π with the ratio detached: clipped tokens keep their
    gradient. The result is [R, C], or [R, 1] for a sequence-level ratio.
    """
    clipped = ratios.clamp(1 - params.clip_low, 1 + params.clip_high)
    if params.name == "cispo":
        return -clipped.detach() * advantages_R[:, None] * logps_RC
    return -torch.minimum(ratios * advantages_R[:, None], clipped * advantages_R[:, None])


def kl_estimate(logps_RC: Tensor, reference_logps_RC: Tensor, clamp: float | None) -> Tensor:
    """KL(π_θ ‖ π_ref) of each token, estimated by k3.

    The estimate is e^x − x − 1, where x = log π_ref − log π_θ is clamped to ±`clamp` (released code: 10). k3:
    http://joschu.net/blog/kl-approx.html.
    """
    x_RC = reference_logps_RC - logps_RC
    if clamp is not None:
        x_RC = x_RC.clamp(-clamp, clamp)
    return x_RC.exp() - x_RC - 1


def reduce_tokens(values_RC: Tensor, mask_RC: Tensor, name: LossName, size: StepSize, max_tokens: int) -> Tensor:
    """Token losses of a micro-batch to one number.

    The mean of these numbers over the step's micro-batches is the loss as each variant defines it. `grpo`: mean over
    each sequence's tokens, then over the step's sequences. `bnpo`: mean over the micro-batch's tokens. `dapo`, `cispo`:
    mean over the step's tokens. `dr_grpo`: sum / (sequences · `max_tokens`), a constant, so that tokens of long answers
    weigh as much as others.
    """
    sums_R = (values_RC * mask_RC).sum(dim=1)
    tokens_R = mask_RC.sum(dim=1)
    if name == "grpo":
        return (sums_R / tokens_R.clamp(min=1)).sum() / size.rows
    if name == "bnpo":
        return sums_R.sum() / tokens_R.sum().clamp(min=1)
    if name == "dr_grpo":
        return sums_R.sum() / (size.rows * max_tokens)
    return sums_R.sum() / size.tokens


def policy_loss(
    logps_RC: Tensor,
    old_logps_RC: Tensor,
    reference_logps_RC: Tensor,
    advantages_R: Tensor,
    mask_RC: Tensor,
    params: LossParams,
    size: StepSize,
    max_tokens: int,
    weights: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The loss to differentiate, and the mean KL per token (detached).

    `old_logps_RC` are those of the policy before the first update on this rollout. `weights` ([R, C] or [R, 1], see
    `importance_weights`) weigh the surrogate and not the KL, as in TRL.
    """
    ratios = importance_ratios(logps_RC, old_logps_RC, mask_RC, params.importance)
    kl_RC = kl_estimate(logps_RC, reference_logps_RC, params.kl_clamp)
    surrogate_RC = surrogate(logps_RC, ratios, advantages_R, params)
    if weights is not None:
        surrogate_RC = surrogate_RC * weights
    losses_RC = surrogate_RC + params.beta * kl_RC
    loss = reduce_tokens(losses_RC, mask_RC, params.name, size, max_tokens)
    return loss, ((kl_RC * mask_RC).sum() / mask_RC.sum()).detach()

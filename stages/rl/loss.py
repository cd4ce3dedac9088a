"""The policy loss over completion tokens: clipped surrogate + β · KL, under the names TRL gives its variants."""

from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from stages.run.params import Params

LossName = Literal["grpo", "dapo", "dr_grpo", "bnpo", "cispo"]
Importance = Literal["token", "sequence"]


class LossParams(Params):
    """Which loss, how its ratio is clipped, and the weight and clamp of the KL term; the defaults are the paper's GRPO.

    The ratio is kept in [1 − clip_low, 1 + clip_high], also in `cispo`, where TRL has no lower bound (clip_low 1) and calls 1 + clip_high
    epsilon_high. Clipping acts from the second update of a rollout on. `kl_clamp` bounds the log-ratio inside the KL estimate (None:
    unbounded).
    """

    name: LossName = "grpo"
    importance: Importance = "token"
    clip_low: float = Field(default=0.2, ge=0)
    clip_high: float = Field(default=0.2, ge=0)
    beta: float = Field(default=0.04, ge=0)
    kl_clamp: float | None = Field(default=10.0, gt=0)


@dataclass(frozen=True)
class StepSize:
    """Rows and completion tokens of the whole optimizer step, over all processes, divided by its number of micro-batches."""

    rows: float
    tokens: float


def importance_ratios(logps_RC: Tensor, old_logps_RC: Tensor, mask_RC: Tensor, level: Importance) -> Tensor:
    """π_θ / π_old per token, [R, C], or its geometric mean over each sequence, [R, 1] (GSPO, arXiv 2507.18071, equation 7)."""
    log_ratios_RC = (logps_RC - old_logps_RC) * mask_RC
    if level == "sequence":
        log_ratios_RC = log_ratios_RC.sum(dim=1, keepdim=True) / mask_RC.sum(dim=1, keepdim=True).clamp(min=1)
    return log_ratios_RC.exp()


def surrogate(logps_RC: Tensor, ratios: Tensor, advantages_R: Tensor, rules: LossParams) -> Tensor:
    """−min(r A, clip(r) A) per token (PPO, arXiv 1707.06347, equation 7); `cispo` weights log π by the detached, clipped ratio instead.

    CISPO (arXiv 2506.13585, equation 4) keeps the gradient of tokens whose ratio is clipped. [R, C], or [R, 1] for a sequence-level ratio.
    """
    clipped = ratios.clamp(1 - rules.clip_low, 1 + rules.clip_high)
    if rules.name == "cispo":
        return -clipped.detach() * advantages_R[:, None] * logps_RC
    return -torch.minimum(ratios * advantages_R[:, None], clipped * advantages_R[:, None])


def kl_estimate(logps_RC: Tensor, reference_logps_RC: Tensor, clamp: float | None) -> Tensor:
    """k3 estimate of KL(π_θ ‖ π_ref) per token: e^x − x − 1 with x = log π_ref − log π_θ, clamped to ±`clamp` (released code: 10)."""
    x_RC = reference_logps_RC - logps_RC
    if clamp is not None:
        x_RC = x_RC.clamp(-clamp, clamp)
    return x_RC.exp() - x_RC - 1


def reduce_tokens(values_RC: Tensor, mask_RC: Tensor, name: LossName, size: StepSize, max_tokens: int) -> Tensor:
    """Token losses of a micro-batch to one number; the mean over the step's micro-batches is the loss as each variant defines it.

    `grpo`: mean over each sequence's tokens, then over the step's sequences. `bnpo`: mean over the micro-batch's tokens. `dapo`, `cispo`:
    mean over the step's tokens. `dr_grpo`: sum over sequences · `max_tokens`, a constant, so that long answers do not weigh less per token.
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
    rules: LossParams,
    size: StepSize,
    max_tokens: int,
) -> tuple[Tensor, Tensor]:
    """The loss to differentiate and the mean KL per token (detached). `old_logps_RC` are those of the policy that sampled."""
    ratios = importance_ratios(logps_RC, old_logps_RC, mask_RC, rules.importance)
    kl_RC = kl_estimate(logps_RC, reference_logps_RC, rules.kl_clamp)
    losses_RC = surrogate(logps_RC, ratios, advantages_R, rules) + rules.beta * kl_RC
    loss = reduce_tokens(losses_RC, mask_RC, rules.name, size, max_tokens)
    return loss, ((kl_RC * mask_RC).sum() / mask_RC.sum()).detach()

"""Rewards: accuracy + format + temporal + length (paper §2)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from stages.rl.grading import Grades
from stages.rl.temporal import MODES, Temporal, TemporalMode, correct_share
from stages.run.params import Params

CAN_NORMALISE = [name for name, mode in MODES.items() if mode.can_normalise]
EPSILON = 1e-4  # added to every std, as in the released code: equal values give 0, not 0 / 0


class RewardParams(Params):
    """The parts of the reward; the defaults are the paper's."""

    temporal: TemporalMode = Field(
        default="paper",
        description="what a correct response earns for the order of its frames; p and p̃ are the shares of correct "
        "responses on ordered and on contrast frames, Δ is in nats per token. "
        + "; ".join(f"{name}: {mode.earns}" for name, mode in MODES.items()),
    )
    contrast_scale: Literal["none", "batch"] = Field(
        default="none",
        description=f"of temporal {' and '.join(CAN_NORMALISE)}: batch pays α · clip(z, 0, 1) instead of α, where z is "
        "p − p̃ normalised over the batch, in the spirit of TGPO",
    )
    gate_visits: int = Field(
        default=0,
        ge=0,
        description="last visits of a question, the present one included: while p̃ ≥ p over them, order does not matter "
        "to it and it has no temporal term; 0: no gate",
    )
    alpha: float = Field(
        default=0.3, ge=0, description="temporal reward of a correct response, α; in mode tokens the strength"
    )
    omega: float = Field(
        default=0.2, ge=0, description="length reward of a correct response of length_min to length_max tokens, ω"
    )
    length_min: int = Field(default=320, ge=0, description="fewest tokens of a response that earns omega")
    length_max: int = Field(default=512, ge=1, description="most tokens of a response that earns omega")
    length_min_correct: int = Field(
        default=1,
        ge=1,
        description="correct responses that a group needs before any earns omega; the released code needs 2",
    )
    correct_above: float = Field(
        default=0.5,
        ge=0,
        lt=1,
        description="accuracy reward above which a response counts as correct; the released code uses 0.1",
    )

    @property
    def mode(self) -> Temporal:
        """What `temporal` does."""
        return MODES[self.temporal]


def normalised_contrast(grades: Grades, correct_above: float) -> Tensor:
    """The normalised contrast z of each question, [B].

    z = (d − mean d) / (std d + ε) with d = p − p̃. Without a contrast group z is 0. Mean and unbiased std are over the
    questions of the batch that have one; of a single question z is 0. The idea is TGPO's (arXiv 2603.27184), which
    normalises the contrast globally and not within the group; this is the plainest formula of it.
    """
    has_B = grades.has_contrast_B
    ordered_B = correct_share(grades.accuracy_BG, correct_above)
    difference_B = (ordered_B - correct_share(grades.contrast_BK, correct_above))[has_B]
    normalised_B = torch.zeros_like(ordered_B)
    if len(difference_B) > 1:
        normalised_B[has_B] = (difference_B - difference_B.mean()) / (difference_B.std() + EPSILON)
    return normalised_B


def temporal_rewards(grades: Grades, condition_B: Tensor, params: RewardParams) -> Tensor:
    """r_t, [B, G]: α times the response's share, or 0.

    It goes to the correct responses of the questions that meet the condition. The share is the mode's own, or
    clip(z, 0, 1) with `contrast_scale` batch (`normalised_contrast`).
    """
    shares = params.mode.share(grades)
    if params.contrast_scale == "batch":
        shares = normalised_contrast(grades, params.correct_above).clamp(0, 1)[:, None]
    paid_BG = condition_B[:, None] & (grades.accuracy_BG > params.correct_above)
    return params.alpha * paid_BG.to(grades.accuracy_BG.dtype) * shares


def length_rewards(accuracy_BG: Tensor, lengths_BG: Tensor, params: RewardParams) -> Tensor:
    """ω for a correct response of `length_min` to `length_max` tokens, [B, G].

    Both bounds are included. The group must have `length_min_correct` correct responses.
    """
    correct_BG = accuracy_BG > params.correct_above
    enough_B1 = correct_BG.sum(dim=1, keepdim=True) >= params.length_min_correct
    in_range_BG = (lengths_BG >= params.length_min) & (lengths_BG <= params.length_max)
    return params.omega * (correct_BG & enough_B1 & in_range_BG).to(accuracy_BG.dtype)


@dataclass(frozen=True)
class Rewards:
    """The parts of each ordered response's reward, [B, G] each.

    `condition_B` says for which questions the temporal part is paid. `after_scaling` says that the temporal part is an
    advantage of its own.
    """

    accuracy_BG: Tensor
    format_BG: Tensor
    temporal_BG: Tensor
    length_BG: Tensor
    condition_B: Tensor
    after_scaling: bool

    @property
    def base_BG(self) -> Tensor:
        """Everything but the temporal part."""
        return self.accuracy_BG + self.format_BG + self.length_BG

    @property
    def total_BG(self) -> Tensor:
        """All parts."""
        return self.base_BG + self.temporal_BG

    @property
    def scaled_BG(self) -> Tensor:
        """What is centred and scaled."""
        return self.base_BG if self.after_scaling else self.total_BG

    def of(self, places: Sequence[int]) -> "Rewards":
        """The rewards of some questions."""
        tensors = {name: part[places] for name, part in vars(self).items() if isinstance(part, Tensor)}
        return replace(self, **tensors)


def group_rewards(grades: Grades, params: RewardParams, gated_B: Tensor | None = None) -> Rewards:
    """All parts of the reward of a batch of groups.

    Questions without contrast frames, and those that are `gated_B` (stages/rl/gate.py), have no temporal term.
    """
    condition_B = grades.has_contrast_B & params.mode.condition(grades, params.correct_above)
    if gated_B is not None:
        condition_B = condition_B & ~gated_B
    return Rewards(
        accuracy_BG=grades.accuracy_BG,
        format_BG=grades.format_BG,
        temporal_BG=temporal_rewards(grades, condition_B, params),
        length_BG=length_rewards(grades.accuracy_BG, grades.lengths_BG, params),
        condition_B=condition_B,
        after_scaling=params.mode.after_scaling,
    )


def zero_variance(rewards_BG: Tensor) -> Tensor:
    """Groups whose responses all earned the same, bool [B]."""
    return (rewards_BG == rewards_BG[:, :1]).all(dim=1)


def idle(rewards: Rewards) -> Tensor:
    """Groups whose advantages are all zero at any scale, bool [B].

    Their rewards are all equal, and no response has an r_t that is an advantage of its own.
    """
    idle_B = zero_variance(rewards.scaled_BG)
    return idle_B & (rewards.temporal_BG == 0).all(dim=1) if rewards.after_scaling else idle_B

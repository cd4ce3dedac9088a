"""Rewards: accuracy + format + temporal + length (paper §2)."""

from dataclasses import dataclass
from typing import Literal

from pydantic import Field
from torch import Tensor

from stages.rl.grading import Grades
from stages.run.params import Params

TemporalMode = Literal["paper", "strict", "reference-code", "advantage", "likelihood", "off"]


class RewardParams(Params):
    """The parts of the reward; the defaults are the paper's."""

    temporal: TemporalMode = Field(
        default="paper",
        description="when correct responses earn the temporal reward: p ≥ p̃ (paper), p > p̃ (strict), the released "
        "code's test on mean rewards (reference-code), as paper but added after scaling (advantage), or never (off); "
        "likelihood pays each by how much likelier the ordered frames made it than the contrast frames",
    )
    alpha: float = Field(default=0.3, ge=0, description="temporal reward of a correct response, α")
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


def correct_share(accuracy_BG: Tensor, correct_above: float) -> Tensor:
    """p, or p̃ of contrast responses: the share of correct ones, [B]."""
    return (accuracy_BG > correct_above).to(accuracy_BG.dtype).mean(dim=1)


def temporal_condition(
    accuracy_BG: Tensor, contrast_BK: Tensor, has_contrast_B: Tensor, params: RewardParams
) -> Tensor:
    """Where the order of frames helped, bool [B].

    p ≥ p̃ (`paper`, `advantage`), p > p̃ (`strict`), or mean reward ≥ 0.8 · mean contrast reward (`reference-code`, the
    released code). False for questions without a contrast group (images), and everywhere in mode `off`. In mode
    `likelihood` each response has its own measure, and the question needs no more than a contrast group.
    """
    if params.temporal == "likelihood":
        return has_contrast_B
    if params.temporal == "reference-code":
        return has_contrast_B & (accuracy_BG.mean(dim=1) >= 0.8 * contrast_BK.mean(dim=1))
    ordered_B = correct_share(accuracy_BG, params.correct_above)
    contrast_B = correct_share(contrast_BK, params.correct_above)
    if params.temporal == "strict":
        return has_contrast_B & (ordered_B > contrast_B)
    return has_contrast_B & (ordered_B >= contrast_B) & (params.temporal != "off")


def temporal_rewards(accuracy_BG: Tensor, condition_B: Tensor, params: RewardParams) -> Tensor:
    """r_t, [B, G]: α or 0.

    α goes to the correct responses of the questions that meet the condition.
    """
    return params.alpha * (condition_B[:, None] & (accuracy_BG > params.correct_above)).to(accuracy_BG.dtype)


def likelihood_rewards(accuracy_BG: Tensor, gains_BG: Tensor, condition_B: Tensor, params: RewardParams) -> Tensor:
    """r_t in mode `likelihood`, [B, G]: α · clip(Δ, 0, 1).

    Correct responses earn it. Δ is the likelihood gain (stages/rl/likelihood.py), which tells responses of one group
    apart. The bound of 1 nat per token keeps single unlikely tokens from deciding.
    """
    paid_BG = temporal_rewards(accuracy_BG, condition_B, params)
    return paid_BG * gains_BG.clamp(0, 1)


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

    `condition_B` says for which questions the temporal part is paid.
    """

    accuracy_BG: Tensor
    format_BG: Tensor
    temporal_BG: Tensor
    length_BG: Tensor
    condition_B: Tensor

    @property
    def base_BG(self) -> Tensor:
        """Everything but the temporal part."""
        return self.accuracy_BG + self.format_BG + self.length_BG


def group_rewards(grades: Grades, params: RewardParams) -> Rewards:
    """All parts of the reward of a batch of groups."""
    accuracy_BG = grades.accuracy_BG
    condition_B = temporal_condition(accuracy_BG, grades.contrast_BK, grades.has_contrast_B, params)
    if params.temporal == "likelihood":
        temporal_BG = likelihood_rewards(accuracy_BG, grades.gains_BG, condition_B, params)
    else:
        temporal_BG = temporal_rewards(accuracy_BG, condition_B, params)
    return Rewards(
        accuracy_BG=accuracy_BG,
        format_BG=grades.format_BG,
        temporal_BG=temporal_BG,
        length_BG=length_rewards(accuracy_BG, grades.lengths_BG, params),
        condition_B=condition_B,
    )


def zero_variance(rewards_BG: Tensor) -> Tensor:
    """Groups whose responses all earned the same, bool [B]."""
    return (rewards_BG == rewards_BG[:, :1]).all(dim=1)


def idle(rewards: Rewards, mode: TemporalMode) -> Tensor:
    """Groups whose advantages are all zero at any scale, bool [B].

    Their rewards are all equal and, in mode `advantage`, where r_t is an advantage of its own, no response has an r_t.
    """
    unrewarded_B = (rewards.temporal_BG == 0).all(dim=1)
    return zero_variance(rewards.base_BG + rewards.temporal_BG) & (unrewarded_B | (mode != "advantage"))

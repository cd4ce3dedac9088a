"""Rewards of one group of responses (paper §2): accuracy + format + temporal + length."""

from dataclasses import dataclass
from typing import Literal

from pydantic import Field
from torch import Tensor

from stages.run.params import Params

TemporalMode = Literal["paper", "strict", "reference-code", "advantage", "off"]


class RewardParams(Params):
    """α (`alpha`), ω (`omega`) and the rules around them; the defaults are the paper's.

    `correct_above` is the accuracy reward above which a response counts as correct (graded types have values between 0 and 1).
    The released code uses 0.1 there and pays the length bonus only from `length_min_correct` = 2 correct responses on.
    """

    temporal: TemporalMode = "paper"
    alpha: float = Field(default=0.3, ge=0)
    omega: float = Field(default=0.2, ge=0)
    length_min: int = Field(default=320, ge=0)
    length_max: int = Field(default=512, ge=1)
    length_min_correct: int = Field(default=1, ge=1)
    correct_above: float = Field(default=0.5, ge=0, lt=1)


def correct_share(accuracy_BG: Tensor, correct_above: float) -> Tensor:
    """p (or p̃, on contrast responses): the share of correct responses of each question, [B]."""
    return (accuracy_BG > correct_above).to(accuracy_BG.dtype).mean(dim=1)


def temporal_condition(accuracy_BG: Tensor, contrast_BK: Tensor, has_contrast_B: Tensor, rules: RewardParams) -> Tensor:
    """Where order helped, bool [B]: p ≥ p̃ (`paper`, `advantage`), p > p̃ (`strict`), or the released code's test on mean rewards.

    False for questions without a contrast group (images), and everywhere in mode `off`.
    """
    if rules.temporal == "reference-code":
        return has_contrast_B & (accuracy_BG.mean(dim=1) >= 0.8 * contrast_BK.mean(dim=1))
    ordered_B = correct_share(accuracy_BG, rules.correct_above)
    contrast_B = correct_share(contrast_BK, rules.correct_above)
    if rules.temporal == "strict":
        return has_contrast_B & (ordered_B > contrast_B)
    return has_contrast_B & (ordered_B >= contrast_B) & (rules.temporal != "off")


def temporal_rewards(accuracy_BG: Tensor, condition_B: Tensor, rules: RewardParams) -> Tensor:
    """r_t, [B, G]: α for the correct ordered responses of questions that meet the condition, else 0."""
    return rules.alpha * (condition_B[:, None] & (accuracy_BG > rules.correct_above)).to(accuracy_BG.dtype)


def length_rewards(accuracy_BG: Tensor, lengths_BG: Tensor, rules: RewardParams) -> Tensor:
    """ω for a correct response of `length_min` to `length_max` tokens, both included, [B, G]."""
    correct_BG = accuracy_BG > rules.correct_above
    enough_B1 = correct_BG.sum(dim=1, keepdim=True) >= rules.length_min_correct
    in_range_BG = (lengths_BG >= rules.length_min) & (lengths_BG <= rules.length_max)
    return rules.omega * (correct_BG & enough_B1 & in_range_BG).to(accuracy_BG.dtype)


@dataclass(frozen=True)
class Rewards:
    """The parts of each ordered response's reward, [B, G] each, and the condition behind the temporal part, [B]."""

    accuracy_BG: Tensor
    format_BG: Tensor
    temporal_BG: Tensor
    length_BG: Tensor
    condition_B: Tensor

    @property
    def base_BG(self) -> Tensor:
        """Everything but the temporal part."""
        return self.accuracy_BG + self.format_BG + self.length_BG


def group_rewards(
    accuracy_BG: Tensor,
    format_BG: Tensor,
    lengths_BG: Tensor,
    contrast_BK: Tensor,
    has_contrast_B: Tensor,
    rules: RewardParams,
) -> Rewards:
    """All reward parts of a batch of groups. Values of `contrast_BK` where `has_contrast_B` is false are ignored."""
    condition_B = temporal_condition(accuracy_BG, contrast_BK, has_contrast_B, rules)
    return Rewards(
        accuracy_BG=accuracy_BG,
        format_BG=format_BG,
        temporal_BG=temporal_rewards(accuracy_BG, condition_B, rules),
        length_BG=length_rewards(accuracy_BG, lengths_BG, rules),
        condition_B=condition_B,
    )


def zero_variance(rewards_BG: Tensor) -> Tensor:
    """Groups that teach nothing because all their responses earned the same, bool [B]."""
    return (rewards_BG == rewards_BG[:, :1]).all(dim=1)


def idle(rewards: Rewards, mode: TemporalMode) -> Tensor:
    """Groups whose advantages are all zero at any scale, bool [B]: no variance, and no r_t where that is an advantage of its own."""
    unrewarded_B = (rewards.temporal_BG == 0).all(dim=1)
    return zero_variance(rewards.base_BG + rewards.temporal_BG) & (unrewarded_B | (mode != "advantage"))

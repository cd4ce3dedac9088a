"""Rewards: accuracy + format + temporal + length (paper §2)."""

from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from stages.rl.grading import Grades
from stages.run.params import Params

TemporalMode = Literal[
    "paper", "strict", "reference-code", "advantage", "likelihood", "answer", "thought", "relation", "tokens", "off"
]
NEEDS_GAINS: tuple[TemporalMode, ...] = ("likelihood", "answer", "tokens")
PER_RESPONSE: tuple[TemporalMode, ...] = (*NEEDS_GAINS, "thought", "relation")
"""Modes that measure each response; the others compare p with p̃."""
EPSILON = 1e-4  # added to every std, as in the released code: equal values give 0, not 0 / 0


class RewardParams(Params):
    """The parts of the reward; the defaults are the paper's."""

    temporal: TemporalMode = Field(
        default="paper",
        description="when correct responses earn the temporal reward: p ≥ p̃ (paper), p > p̃ (strict), the released "
        "code's test on mean rewards (reference-code), as paper but added after scaling (advantage), or never (off). "
        "Or each is paid by how much likelier the ordered frames made it than the contrast frames (likelihood), the "
        "same for its conclusion and answer alone (answer), by how much likelier its own thought made its conclusion "
        "than a thought about contrast frames (thought), or by how far its answer differs from those on contrast "
        "frames (relation). tokens pays nothing: it weighs the policy gradient of each token by that likelihood",
    )
    contrast_scale: Literal["none", "batch"] = Field(
        default="none",
        description="of temporal paper and strict: batch pays α · clip(z, 0, 1) instead of α, where z is p − p̃ "
        "normalised over the batch, in the spirit of TGPO",
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


def correct_share(accuracy_BG: Tensor, correct_above: float) -> Tensor:
    """p, or p̃ of contrast responses: the share of correct ones, [B]."""
    return (accuracy_BG > correct_above).to(accuracy_BG.dtype).mean(dim=1)


def temporal_condition(
    accuracy_BG: Tensor, contrast_BK: Tensor, has_contrast_B: Tensor, params: RewardParams
) -> Tensor:
    """Where the order of frames helped, bool [B].

    p ≥ p̃ (`paper`, `advantage`), p > p̃ (`strict`), or mean reward ≥ 0.8 · mean contrast reward (`reference-code`, the
    released code). False for questions without a contrast group (images), and everywhere in mode `off`. In the modes
    that measure each response, the question needs no more than a contrast group.
    """
    if params.temporal in PER_RESPONSE:
        return has_contrast_B
    if params.temporal == "reference-code":
        return has_contrast_B & (accuracy_BG.mean(dim=1) >= 0.8 * contrast_BK.mean(dim=1))
    ordered_B = correct_share(accuracy_BG, params.correct_above)
    contrast_B = correct_share(contrast_BK, params.correct_above)
    if params.temporal == "strict":
        return has_contrast_B & (ordered_B > contrast_B)
    return has_contrast_B & (ordered_B >= contrast_B) & (params.temporal != "off")


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


def temporal_shares(grades: Grades, params: RewardParams) -> Tensor:
    """Share of α for a correct response, [B, G] or [B, 1].

    Its question has to meet the condition.

    `likelihood`, `answer`: clip(Δ, 0, 1), where Δ is the gain of the response, or of its conclusion and answer
    (stages/rl/likelihood.py); in the spirit of TaRO (arXiv 2606.09248). The bound of 1 nat per token keeps single
    unlikely tokens from deciding. `thought`: the same of the gain of its own notes. `relation`: 1 − agreement with the
    contrast answers, after ArrowRL (arXiv 2506.03340) and CRPO (arXiv 2605.21988): 0 where the contrast answers are
    right as well. It is equal for responses with the same answer, so that under `scale` group it cancels as 1 does.
    `tokens`: 0. Otherwise 1, or clip(z, 0, 1) with `contrast_scale` batch (`normalised_contrast`).
    """
    match params.temporal:
        case "likelihood":
            return grades.likelihood_BG.nan_to_num(0.0).clamp(0, 1)
        case "answer":
            return grades.answer_BG.nan_to_num(0.0).clamp(0, 1)
        case "thought":
            return grades.thought_BG.nan_to_num(0.0).clamp(0, 1)
        case "relation":
            return 1 - grades.agreement_BG.nan_to_num(1.0)
        case "tokens":
            return torch.zeros_like(grades.accuracy_BG)
    if params.contrast_scale == "batch":
        return normalised_contrast(grades, params.correct_above).clamp(0, 1)[:, None]
    return torch.ones_like(grades.accuracy_BG)


def temporal_rewards(grades: Grades, condition_B: Tensor, params: RewardParams) -> Tensor:
    """r_t, [B, G]: α times the response's share (`temporal_shares`), or 0.

    It goes to the correct responses of the questions that meet the condition.
    """
    paid_BG = condition_B[:, None] & (grades.accuracy_BG > params.correct_above)
    return params.alpha * paid_BG.to(grades.accuracy_BG.dtype) * temporal_shares(grades, params)


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


def group_rewards(grades: Grades, params: RewardParams, gated_B: Tensor | None = None) -> Rewards:
    """All parts of the reward of a batch of groups.

    Questions that are `gated_B` (stages/rl/gate.py) have no temporal term.
    """
    accuracy_BG = grades.accuracy_BG
    condition_B = temporal_condition(accuracy_BG, grades.contrast_BK, grades.has_contrast_B, params)
    if gated_B is not None:
        condition_B = condition_B & ~gated_B
    return Rewards(
        accuracy_BG=accuracy_BG,
        format_BG=grades.format_BG,
        temporal_BG=temporal_rewards(grades, condition_B, params),
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

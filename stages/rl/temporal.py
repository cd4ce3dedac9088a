"""How the order of frames enters a step.

There is one object for each value of `tgrpo.temporal`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from stages.rl.grading import Grades

TemporalMode = Literal[
    "off", "paper", "strict", "reference-code", "advantage", "likelihood", "answer", "thought", "relation", "tokens"
]
Compared = Literal["nothing", "accuracy", "likelihood", "thoughts", "answers"]
Condition = Callable[[Grades, float], Tensor]  # which questions, bool [B], from the grades and `correct_above`


def correct_share(accuracy_BG: Tensor, correct_above: float) -> Tensor:
    """p, or p̃ of contrast responses: the share of correct ones, [B]."""
    return (accuracy_BG > correct_above).to(accuracy_BG.dtype).mean(dim=1)


def comparing_shares(compare: Callable[[Tensor, Tensor], Tensor]) -> Condition:
    """Compares p with p̃."""
    return lambda grades, correct_above: compare(
        correct_share(grades.accuracy_BG, correct_above), correct_share(grades.contrast_BK, correct_above)
    )


def released_test(grades: Grades, correct_above: float) -> Tensor:
    """Mean reward ≥ 0.8 · mean contrast reward, bool [B]."""
    return grades.accuracy_BG.mean(dim=1) >= 0.8 * grades.contrast_BK.mean(dim=1)


def clipped(gains_BG: Tensor) -> Tensor:
    """clip(Δ, 0, 1), and 0 where Δ was not measured, [B, G].

    The bound of 1 nat per token keeps single unlikely tokens from deciding.
    """
    return gains_BG.nan_to_num(0.0).clamp(0, 1)


def token_weights(gains_C: Tensor, alpha: float) -> Tensor:
    """The weights of a response's tokens in the policy gradient, [C].

    w_t = (1 + α · clip(Δ_t, 0, 1)) / its mean over the response. The mean is 1, and the weights lie between
    1 / (1 + α) and 1 + α, so that no response counts more for its length or for a few unlikely tokens.
    """
    weights_C = 1 + alpha * gains_C.clamp(0, 1)
    return weights_C / weights_C.mean()


@dataclass(frozen=True)
class Temporal:
    """What one value of `temporal` does.

    Args:
        earns: What a correct response earns, for the parameter's description.
        compares: What of the responses is compared with contrast frames.
        condition: The questions with a temporal term, of those with contrast frames.
        share: The share of α that a correct response of theirs earns, [B, G].
        can_normalise: Whether `contrast_scale: batch` may take the place of the share.
        after_scaling: Whether r_t is added to the advantage, and not to the reward.
        weigh_tokens: The weights of a response's tokens, from their gains [C] and α.
    """

    earns: str
    compares: Compared
    condition: Condition = lambda grades, correct_above: grades.has_contrast_B
    share: Callable[[Grades], Tensor] = lambda grades: torch.ones_like(grades.accuracy_BG)
    can_normalise: bool = False
    after_scaling: bool = False
    weigh_tokens: Callable[[Tensor, float], Tensor] | None = None

    @property
    def needs_responses(self) -> bool:
        """Whether contrast frames alone are too little: they must be answered."""
        return self.compares not in ("nothing", "likelihood")

    @property
    def scores_again(self) -> bool:
        """Whether the ordered responses are scored once more."""
        return self.compares in ("likelihood", "thoughts")


# stages/rl/likelihood.py defines Δ. Sources: likelihood is in the spirit of TaRO (arXiv 2606.09248), and relation of
# ArrowRL (2506.03340) and CRPO (2605.21988). Video-KTR (2601.19686) updates only the tokens that depend on the video;
# tokens weighs each by how much it depends on the order.
MODES: Mapping[TemporalMode, Temporal] = {
    "off": Temporal(
        "nothing, plain GRPO",
        "nothing",
        condition=lambda grades, correct_above: torch.zeros_like(grades.has_contrast_B),
    ),
    "paper": Temporal("α where p ≥ p̃", "accuracy", comparing_shares(torch.ge), can_normalise=True),
    "strict": Temporal("α where p > p̃", "accuracy", comparing_shares(torch.gt), can_normalise=True),
    "reference-code": Temporal(
        "α where the mean accuracy reward is at least 0.8 of that on contrast frames, as the released code tests",
        "accuracy",
        released_test,
    ),
    "advantage": Temporal("as paper, added after scaling", "accuracy", comparing_shares(torch.ge), after_scaling=True),
    "likelihood": Temporal(
        "α · clip(Δ, 0, 1), where Δ says how much likelier the ordered frames made it than the contrast frames",
        "likelihood",
        share=lambda grades: clipped(grades.likelihood_BG),
    ),
    "answer": Temporal(
        "as likelihood, with Δ of its conclusion and answer alone",
        "likelihood",
        share=lambda grades: clipped(grades.answer_BG),
    ),
    "thought": Temporal(
        "α · clip(Δ, 0, 1), where Δ says how much likelier its own thought made its conclusion than a thought about "
        "contrast frames",
        "thoughts",
        share=lambda grades: clipped(grades.thought_BG),
    ),
    "relation": Temporal(
        "α · (1 − how far its answer agrees with those on contrast frames)",
        "answers",
        share=lambda grades: 1 - grades.agreement_BG.nan_to_num(1.0),
    ),
    "tokens": Temporal(
        "nothing, but the policy gradient of token t has the weight (1 + α · clip(Δ_t, 0, 1)) / its mean",
        "likelihood",
        share=lambda grades: torch.zeros_like(grades.accuracy_BG),
        weigh_tokens=token_weights,
    ),
}

from math import log

import pytest
import torch
from torch import Tensor

from stages.rl.loss import LossParams, StepSize, policy_loss
from stages.rl.mismatch import CorrectionMode, importance_weights, logp_difference, sampling_kl

MASK_RC = torch.tensor([[1.0, 1.0], [1.0, 0.0]])  # the second sequence has one token
# π_scored / π_sampled: 2 and 4 in the first sequence, ½ in the second
SCORED_RC = torch.tensor([[log(0.5), log(0.4)], [log(0.2), 5.0]], dtype=torch.float64)
SAMPLED_RC = torch.tensor([[log(0.25), log(0.1)], [log(0.4), 0.0]], dtype=torch.float64)


def test_the_difference_is_the_mean_over_tokens_without_the_padding() -> None:
    # (ln 2 + ln 4 + ln 2) / 3
    assert logp_difference(SCORED_RC, SAMPLED_RC, MASK_RC).item() == pytest.approx(4 * log(2) / 3)


def test_the_kl_is_k3_over_the_tokens_that_were_sampled() -> None:
    # r − ln r − 1: 1 − ln 2, 3 − ln 4, −½ + ln 2
    expected = (1 - log(2) + 3 - log(4) - 0.5 + log(2)) / 3
    assert sampling_kl(SCORED_RC, SAMPLED_RC, MASK_RC).item() == pytest.approx(expected)
    assert sampling_kl(SCORED_RC, SCORED_RC, MASK_RC).item() == 0.0


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("token_truncate", [[2.0, 3.0], [0.5, 1.0]]),
        ("token_mask", [[2.0, 0.0], [0.5, 1.0]]),
        ("sequence_truncate", [[3.0], [0.5]]),  # 2 · 4 = 8 is above 3
        ("sequence_mask", [[0.0], [0.5]]),
    ],
)
def test_each_mode_bounds_ratios_its_own_way(mode: CorrectionMode, expected: list[list[float]]) -> None:
    weights = importance_weights(SCORED_RC, SAMPLED_RC, MASK_RC, mode, clip_max=3.0)
    assert weights.shape == torch.tensor(expected).shape
    assert weights.flatten().tolist() == pytest.approx([value for row in expected for value in row])


def gradient(weights: Tensor | None, beta: float) -> list[float]:
    """The gradient at the scored policy; advantages are 1 and −1.

    The reference has half the probability of each token.
    """
    logps_RC = SCORED_RC.clone().requires_grad_()
    advantages_R = torch.tensor([1.0, -1.0], dtype=torch.float64)
    loss, _ = policy_loss(
        logps_RC,
        SCORED_RC,
        SCORED_RC - log(2),
        advantages_R,
        MASK_RC,
        LossParams(beta=beta),
        StepSize(2, 3),
        2,
        weights,
    )
    return torch.autograd.grad(loss, logps_RC)[0].flatten().tolist()


def test_weights_scale_the_pull_of_the_advantages_token_by_token() -> None:
    weights_RC = importance_weights(SCORED_RC, SAMPLED_RC, MASK_RC, "token_truncate", clip_max=3.0)
    assert gradient(None, beta=0.0) == pytest.approx([-1 / 4, -1 / 4, 1 / 2, 0.0])
    assert gradient(weights_RC, beta=0.0) == pytest.approx([-2 / 4, -3 / 4, 0.5 / 2, 0.0])
    weights_R1 = importance_weights(SCORED_RC, SAMPLED_RC, MASK_RC, "sequence_mask", clip_max=3.0)
    assert gradient(weights_R1, beta=0.0) == pytest.approx([0.0, 0.0, 0.5 / 2, 0.0])


def test_weights_leave_the_kl_to_the_reference_as_it_is() -> None:
    # d/dlog π of e^x − x − 1 at x = −ln 2 is 1 − ½ per token, divided by the tokens of the sequence and the sequences
    zeros_R1 = torch.zeros(2, 1, dtype=torch.float64)
    assert gradient(zeros_R1, beta=1.0) == pytest.approx([0.5 / 4, 0.5 / 4, 0.5 / 2, 0.0])

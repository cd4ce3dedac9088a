from math import exp, log

import pytest
import torch
from torch import Tensor

from stages.rl.loss import (
    LossName,
    LossParams,
    StepSize,
    importance_ratios,
    kl_estimate,
    policy_loss,
    reduce_tokens,
    surrogate,
)

MASK_RC = torch.tensor([[1.0, 1.0], [1.0, 0.0]])  # the second sequence has one token


def column(*values: float) -> Tensor:
    return torch.tensor([[value] for value in values], dtype=torch.float64)


def test_token_ratios_compare_the_policy_with_the_one_that_sampled() -> None:
    logps_RC = torch.tensor([[log(0.5), log(0.2)], [log(0.3), 9.0]])
    old_logps_RC = torch.tensor([[log(0.25), log(0.4)], [log(0.3), 0.0]])
    ratios_RC = importance_ratios(logps_RC, old_logps_RC, MASK_RC, "token")
    assert ratios_RC.flatten().tolist() == pytest.approx([2.0, 0.5, 1.0, 1.0])  # padding counts as unchanged


def test_the_sequence_ratio_is_the_geometric_mean_over_its_own_tokens() -> None:
    logps_RC = torch.tensor([[log(0.5), log(0.4)], [log(0.3), 9.0]])
    old_logps_RC = torch.tensor([[log(0.25), log(0.05)], [log(0.1), 0.0]])
    ratios_R1 = importance_ratios(logps_RC, old_logps_RC, MASK_RC, "sequence")
    assert ratios_R1.shape == (2, 1)
    assert ratios_R1.flatten().tolist() == pytest.approx([(2 * 8) ** 0.5, 3.0])


def test_the_clip_holds_back_gains_and_not_losses() -> None:
    params = LossParams(clip_low=0.2, clip_high=0.3)
    ratios_RC = column(1.5, 0.5, 1.5, 0.5)
    advantages_R = torch.tensor([1.0, 1.0, -1.0, -1.0], dtype=torch.float64)
    losses = surrogate(column(0.0, 0.0, 0.0, 0.0), ratios_RC, advantages_R, params).flatten().tolist()
    assert losses == pytest.approx([-1.3, -0.5, 1.5, 0.8])


def test_cispo_keeps_the_gradient_of_a_clipped_token() -> None:
    logps_RC = column(log(0.5)).requires_grad_()
    ratios_RC = importance_ratios(logps_RC, column(log(0.1)), torch.ones(1, 1), "token")  # 5, clipped to 1.2
    advantages_R = torch.tensor([2.0], dtype=torch.float64)
    clipped = torch.autograd.grad(
        surrogate(logps_RC, ratios_RC, advantages_R, LossParams()).sum(), logps_RC, retain_graph=True
    )
    cispo = torch.autograd.grad(surrogate(logps_RC, ratios_RC, advantages_R, LossParams(name="cispo")).sum(), logps_RC)
    assert clipped[0].item() == 0.0
    assert cispo[0].item() == pytest.approx(-1.2 * 2.0)


def test_trls_cispo_is_a_clip_without_a_lower_bound() -> None:
    params = LossParams(name="cispo", clip_low=1.0, clip_high=4.0)  # TRL's epsilon_high 5
    logps_RC, ratios_RC = column(-1.0, -1.0, -1.0), column(0.01, 3.0, 9.0)
    losses = surrogate(logps_RC, ratios_RC, torch.full((3,), 2.0, dtype=torch.float64), params)
    assert losses.flatten().tolist() == pytest.approx([0.02, 6.0, 10.0])


def test_the_kl_estimate_is_k3_with_a_clamped_log_ratio() -> None:
    # π = ½, π_ref = ¼: x = ln ½, e^x − x − 1 = ln 2 − ½
    assert kl_estimate(column(log(0.5)), column(log(0.25)), 10.0).item() == pytest.approx(log(2) - 0.5)
    assert kl_estimate(column(-30.0), column(0.0), 10.0).item() == pytest.approx(exp(10) - 11)
    assert kl_estimate(column(-12.0), column(0.0), None).item() == pytest.approx(exp(12) - 13)
    assert kl_estimate(column(-1.0), column(-1.0), 10.0).item() == 0.0


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("grpo", (1.5 + 5.0) / 4),  # (1 + 2) / 2 and 5, over the 4 rows of the step
        ("bnpo", 8 / 3),  # (1 + 2 + 5) / 3 tokens
        ("dapo", 8 / 6),  # over the 6 tokens of the step
        ("cispo", 8 / 6),
        ("dr_grpo", 8 / (4 * 10)),  # over rows of the step · longest allowed
    ],
)
def test_each_loss_averages_tokens_its_own_way(name: LossName, expected: float) -> None:
    values_RC = torch.tensor([[1.0, 2.0], [5.0, 99.0]])
    assert reduce_tokens(values_RC, MASK_RC, name, StepSize(rows=4, tokens=6), max_tokens=10).item() == pytest.approx(
        expected
    )


def test_on_the_sampling_policy_the_loss_is_the_mean_advantage_and_its_gradient_pushes_each_token_by_it() -> None:
    logps_RC = torch.tensor([[-1.0, -2.0], [-3.0, 0.0]], requires_grad=True)
    advantages_R = torch.tensor([1.0, -0.5])
    loss, kl = policy_loss(
        logps_RC, logps_RC.detach(), logps_RC.detach(), advantages_R, MASK_RC, LossParams(), StepSize(2, 3), 2
    )
    (gradient_RC,) = torch.autograd.grad(loss, logps_RC)
    assert loss.item() == pytest.approx(-(1.0 - 0.5) / 2)
    assert kl.item() == 0.0
    assert gradient_RC.flatten().tolist() == pytest.approx([-1 / 4, -1 / 4, 0.5 / 2, 0.0])


def test_beta_weighs_the_distance_to_the_reference() -> None:
    logps_RC = column(log(0.5))
    arguments = (logps_RC, logps_RC, column(log(0.25)), torch.zeros(1, dtype=torch.float64), torch.ones(1, 1))
    loss, kl = policy_loss(*arguments, LossParams(beta=0.5), StepSize(1, 1), 1)
    assert kl.item() == pytest.approx(log(2) - 0.5)
    assert loss.item() == pytest.approx(0.5 * (log(2) - 0.5))


def test_a_sequence_ratio_reaches_every_token_of_its_sequence() -> None:
    logps_RC = torch.zeros(2, 2, requires_grad=True)
    params = LossParams(importance="sequence")
    loss, _ = policy_loss(
        logps_RC, logps_RC.detach(), logps_RC.detach(), torch.tensor([1.0, 2.0]), MASK_RC, params, StepSize(2, 3), 2
    )
    (gradient_RC,) = torch.autograd.grad(loss, logps_RC)
    assert gradient_RC.flatten().tolist() == pytest.approx([-0.25, -0.25, -1.0, 0.0])

import pytest
import torch

from stages.rl.advantages import EPSILON, reward_scale, temporal_advantages, temporal_effect, update_ema
from stages.rl.rewards import RewardParams, Rewards, group_rewards
from stages.rl.temporal import TemporalMode
from tests.rl.literals import grades

NO_EMA = torch.zeros(1)


def rewards_of(accuracy: list[float], formats: list[float], mode: TemporalMode = "paper") -> Rewards:
    """A video question with wrong contrast responses: the condition holds."""
    formats_BG = torch.tensor([formats], dtype=torch.float64)
    return group_rewards(grades([accuracy], [[0, 0]], format_BG=formats_BG), RewardParams(temporal=mode, alpha=0.3))


def test_group_scaling_divides_by_the_groups_unbiased_std() -> None:
    # Without r_t: rewards 2 2 1 1, mean 1.5, std = √(4 · 0.25 / 3) = 0.57735
    rewards = rewards_of([1, 1, 0, 0], [1, 1, 1, 1], mode="off")
    expected = 0.5 / (3**-0.5 + EPSILON)
    advantages_BG = temporal_advantages(rewards, "group", NO_EMA)
    assert advantages_BG[0].tolist() == pytest.approx([expected, expected, -expected, -expected], rel=1e-12)


def test_the_other_scales_divide_by_the_batch_the_moving_average_or_nothing() -> None:
    rewards_BG = torch.tensor([[0.0, 2.0], [4.0, 6.0]], dtype=torch.float64)
    # Batch mean 3, squared deviations 9 1 1 9, unbiased std √(20 / 3)
    assert float(reward_scale(rewards_BG, "batch", NO_EMA)) == pytest.approx((20 / 3) ** 0.5 + EPSILON)
    assert float(reward_scale(rewards_BG, "none", NO_EMA)) == 1.0
    assert reward_scale(rewards_BG, "ema", torch.tensor([0.5, 0.25])).tolist() == [
        [pytest.approx(0.5001)],
        [pytest.approx(0.2501)],
    ]


def test_a_group_without_variance_gets_zero_not_nan() -> None:
    advantages_BG = temporal_advantages(rewards_of([0, 0, 0, 0], [1, 1, 1, 1]), "group", NO_EMA)
    assert advantages_BG.tolist() == [[0.0, 0.0, 0.0, 0.0]]


def test_with_two_reward_levels_the_temporal_reward_cancels_under_group_std() -> None:
    rewards = rewards_of([1, 1, 0, 0], [1, 1, 1, 1])
    assert rewards.temporal_BG.tolist() == [[0.3, 0.3, 0.0, 0.0]]
    advantages_BG = temporal_advantages(rewards, "group", NO_EMA)
    assert temporal_effect(advantages_BG, rewards, "group", NO_EMA) < 1e-4  # what ε leaves


def test_with_three_reward_levels_it_does_not_cancel() -> None:
    # Base rewards 2 2 1 0 (the last is wrong and malformed), with r_t 2.3 2.3 1 0
    rewards = rewards_of([1, 1, 0, 0], [1, 1, 1, 0])
    advantages_BG = temporal_advantages(rewards, "group", NO_EMA)
    # Base mean 1.25, std √(2.75 / 3) = 0.957427; with r_t mean 1.4, std √(3.74 / 3) = 1.116542
    differences = [0.9 / 1.116642 - 0.75 / 0.957527] * 2 + [
        -0.4 / 1.116642 + 0.25 / 0.957527,
        -1.4 / 1.116642 + 1.25 / 0.957527,
    ]
    effect = temporal_effect(advantages_BG, rewards, "group", NO_EMA)
    assert effect == pytest.approx(sum(map(abs, differences)) / 4, rel=1e-4)
    assert effect > 0.04


def test_without_std_the_temporal_reward_acts_in_full() -> None:
    # Rewards 2.3 2.3 1 1 against 2 2 1 1: deviations ±0.65 against ±0.5
    rewards = rewards_of([1, 1, 0, 0], [1, 1, 1, 1])
    advantages_BG = temporal_advantages(rewards, "none", NO_EMA)
    assert advantages_BG[0].tolist() == pytest.approx([0.65, 0.65, -0.65, -0.65])
    assert temporal_effect(advantages_BG, rewards, "none", NO_EMA) == pytest.approx(0.15)


def test_mode_advantage_adds_alpha_to_the_scaled_advantage_of_correct_responses() -> None:
    rewards = rewards_of([1, 1, 0, 0], [1, 1, 1, 1], mode="advantage")
    advantages_BG = temporal_advantages(rewards, "group", NO_EMA)
    plain = 0.5 / (3**-0.5 + EPSILON)
    assert advantages_BG[0].tolist() == pytest.approx([plain + 0.3, plain + 0.3, -plain, -plain])
    assert temporal_effect(advantages_BG, rewards, "group", NO_EMA) == pytest.approx(0.15)


def test_the_moving_std_starts_with_the_first_batch_and_is_kept_per_answer_type() -> None:
    # Unbiased variances of the groups: [0, 2] → 2, [0, 4] → 8, [1, 1] → 0
    rewards_BG = torch.tensor([[0.0, 2.0], [0.0, 4.0], [1.0, 1.0]], dtype=torch.float64)
    ema = update_ema(
        {"numerical": 1.0, "OCR": 7.0}, rewards_BG, ["numerical", "multiple choice", "multiple choice"], decay=0.75
    )
    assert ema == pytest.approx({"numerical": (0.75 * 1 + 0.25 * 2) ** 0.5, "multiple choice": 2.0, "OCR": 7.0})

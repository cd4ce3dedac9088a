import pytest
import torch

from stages.rl.rewards import (
    RewardParams,
    Rewards,
    group_rewards,
    idle,
    length_rewards,
    temporal_rewards,
    zero_variance,
)
from stages.rl.temporal import MODES, TemporalMode, correct_share
from tests.rl.literals import grades

ORDERED = [[1, 1, 0, 0]]  # p = 1/2


def test_p_is_the_share_of_responses_above_the_threshold() -> None:
    accuracy_BG = torch.tensor([[1.0, 0.6, 0.5, 0.05], [0.0, 0.0, 0.0, 0.2]])
    assert correct_share(accuracy_BG, 0.5).tolist() == [0.5, 0.0]
    assert correct_share(accuracy_BG, 0.1).tolist() == [0.75, 0.25]


@pytest.mark.parametrize(
    ("mode", "contrast", "holds"),
    [
        ("paper", [1.0, 0.0], True),  # ½ ≥ ½
        ("paper", [1.0, 1.0], False),
        ("strict", [1.0, 0.0], False),  # ½ > ½ fails
        ("strict", [0.0, 0.0], True),
        ("advantage", [1.0, 0.0], True),
        ("off", [0.0, 0.0], False),
        ("reference-code", [0.625, 0.625], True),  # ½ ≥ 0.8 · 0.625 = ½
        ("reference-code", [0.7, 0.7], False),  # 0.8 · 0.7 = 0.56
    ],
)
def test_each_mode_compares_the_two_groups_its_own_way(mode: TemporalMode, contrast: list[float], holds: bool) -> None:
    rewards = group_rewards(grades(ORDERED, [contrast]), RewardParams(temporal=mode))
    assert rewards.condition_B.tolist() == [holds]


@pytest.mark.parametrize("mode", MODES)
def test_an_image_never_meets_the_temporal_condition(mode: TemporalMode) -> None:
    rewards = group_rewards(grades(ORDERED, [[0, 0]], [False]), RewardParams(temporal=mode))
    assert not rewards.condition_B.any()
    assert not rewards.temporal_BG.any()


def test_the_temporal_reward_goes_to_correct_ordered_responses_only() -> None:
    found = grades([[1, 0, 1], [1, 0, 1]], [[0, 0], [0, 0]])
    rewards_BG = temporal_rewards(found, torch.tensor([True, False]), RewardParams(alpha=0.5))
    assert rewards_BG.tolist() == [[0.5, 0.0, 0.5], [0.0, 0.0, 0.0]]


def test_the_length_bonus_includes_both_ends_and_wants_a_correct_answer() -> None:
    accuracy_BG = torch.tensor([[1.0, 1.0, 1.0, 1.0, 0.0]])
    lengths_BG = torch.tensor([[319, 320, 512, 513, 400]])
    assert length_rewards(accuracy_BG, lengths_BG, RewardParams(omega=0.25)).tolist() == [[0.0, 0.25, 0.25, 0.0, 0.0]]


def test_the_released_code_pays_the_length_bonus_only_from_two_correct_responses_on() -> None:
    accuracy_BG = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.2, 0.0]])
    params = RewardParams(omega=0.25, length_min_correct=2, correct_above=0.1)
    lengths_BG = torch.full((2, 3), 400)
    assert length_rewards(accuracy_BG, lengths_BG, params).tolist() == [[0.0, 0.0, 0.0], [0.25, 0.25, 0.0]]


def test_the_parts_of_a_group_add_up() -> None:
    rewards = group_rewards(
        grades(
            [[1, 0], [1, 0]],
            [[0], [1]],
            format_BG=torch.tensor([[1.0, 1.0], [0.0, 1.0]]),
            lengths_BG=torch.tensor([[400, 400], [10, 400]]),
        ),
        RewardParams(alpha=0.5, omega=0.25),
    )
    assert rewards.condition_B.tolist() == [True, False]
    assert rewards.base_BG.tolist() == [[2.25, 1.0], [1.0, 1.0]]
    assert rewards.temporal_BG.tolist() == [[0.5, 0.0], [0.0, 0.0]]


def test_a_group_whose_responses_all_earned_the_same_has_zero_variance() -> None:
    assert zero_variance(torch.tensor([[2.0, 2.0, 2.0], [2.0, 1.0, 2.0]])).tolist() == [True, False]


def test_a_group_is_idle_when_no_response_gets_an_advantage() -> None:
    # All right with r_t, all right without, half right. Where all rewards are equal, only a temporal advantage teaches.
    accuracy_BG = torch.tensor([[1.0, 1.0], [1.0, 1.0], [1.0, 0.0]])
    zeros_BG = torch.zeros(3, 2)
    temporal_BG = torch.tensor([[0.3, 0.3], [0.0, 0.0], [0.0, 0.0]])
    for after_scaling, idle_B in ((False, [True, True, False]), (True, [False, True, False])):
        rewards = Rewards(accuracy_BG, zeros_BG, temporal_BG, zeros_BG, temporal_BG.any(dim=1), after_scaling)
        assert idle(rewards).tolist() == idle_B

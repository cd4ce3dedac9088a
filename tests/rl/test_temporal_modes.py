"""Temporal rewards that tell the responses of one question apart, each worked out by hand."""

import math
from pathlib import Path
from typing import Literal, get_args

import pytest
import torch

from stages.data.sample import Sample
from stages.generation.generate import Completion
from stages.rl.advantages import temporal_advantages, temporal_effect
from stages.rl.batches import response_weights, weight_effect
from stages.rl.gate import Gate
from stages.rl.grading import GradedGroup, grade_group, grades_of
from stages.rl.likelihood import Gains
from stages.rl.params import StepParams
from stages.rl.questions import RolloutQuestion
from stages.rl.rewards import EPSILON, RewardParams, group_rewards, normalised_contrast
from stages.rl.rollout import Group
from stages.rl.temporal import MODES, TemporalMode, token_weights
from tests.model.tiny_models import question
from tests.rl.conftest import tiny_prompt
from tests.rl.literals import grades

NO_EMA = torch.zeros(2)


@pytest.mark.parametrize("mode", ["likelihood", "answer", "thought"])
def test_a_gain_pays_each_correct_response_by_itself(mode: Literal["likelihood", "answer", "thought"]) -> None:
    # Gains below 0 count as 0 and above 1 as 1; wrong responses and questions without a contrast group earn nothing.
    unknown = [math.nan] * 4
    gains_BG = torch.tensor([[0.25, -0.5, 3.0, 0.75], unknown], dtype=torch.float64)
    others = {f"{name}_BG": gains_BG if name == mode else gains_BG + 1 for name in ("likelihood", "answer", "thought")}
    found = grades([[1, 1, 1, 0], [1, 1, 1, 1]], [[1, 1], [0, 0]], [True, False], **others)
    rewards = group_rewards(found, RewardParams(temporal=mode, alpha=2.0))
    assert rewards.temporal_BG.tolist() == [[0.5, 0.0, 2.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
    assert rewards.condition_B.tolist() == [True, False]
    # Rewards 2.5, 2, 4, 1 with r_t and 2, 2, 2, 1 without: it tells the correct responses apart.
    effect = temporal_effect(temporal_advantages(rewards, "none", NO_EMA), rewards, "none", NO_EMA)
    # Means 2.375 and 1.75: advantages 0.125 −0.375 1.625 −1.375 against 0.25 0.25 0.25 −0.75
    assert effect == pytest.approx((0.125 + 0.625 + 1.375 + 0.625) / 8)


def group_of(sample: Sample, ordered: list[str | None], contrast: list[str | None]) -> GradedGroup:
    """Responses with these answers, None for one without; each ordered one has two tokens and gains of 0 and ½."""

    def _responses(answers: list[str | None]) -> list[Completion]:
        texts = ["no idea" if each is None else f"<think>a</think><answer>{each}</answer>" for each in answers]
        return [Completion(torch.arange(2), torch.zeros(2), text, False) for text in texts]

    prompts = [tiny_prompt("video", 2, 2, seed) for seed in (0, 1)]
    group = Group(RolloutQuestion(sample, *prompts), _responses(ordered), _responses(contrast), None)
    return grade_group(group, "default", [Gains(torch.tensor([0.0, 0.5]), None)] * len(ordered), compare_answers=True)


def test_relation_pays_a_correct_answer_for_differing_from_the_contrast_answers() -> None:
    sample = question("clip", answer="B")
    # The answer B agrees with one of the three contrast answers that were found.
    found = grades_of([group_of(sample, ["B", "A", "B", None], ["A", "(B)", None, "C"])], 4)
    assert found.agreement_BG[0].tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0.0])
    rewards = group_rewards(found, RewardParams(temporal="relation", alpha=0.3))
    assert rewards.temporal_BG[0].tolist() == pytest.approx([0.2, 0.0, 0.2, 0.0])


@pytest.mark.parametrize("contrast", [["B", "B"], [None, None]], ids=["right on contrast frames", "no answer there"])
def test_relation_pays_nothing_where_the_contrast_answers_show_no_difference(contrast: list[str | None]) -> None:
    found = grades_of([group_of(question("clip", answer="B"), ["B", "B"], contrast)], 2)
    assert not group_rewards(found, RewardParams(temporal="relation", alpha=0.3)).temporal_BG.any()


def test_relation_acts_under_the_std_of_the_batch_and_cancels_under_that_of_the_group() -> None:
    # Both questions have a right and a wrong answer. Only the right one of the first differs from the contrast answers.
    agreement_BG = torch.tensor([[0.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
    found = grades([[1, 0], [1, 0]], [[0, 0], [1, 1]], agreement_BG=agreement_BG)
    rewards = group_rewards(found, RewardParams(temporal="relation", alpha=0.3))
    assert rewards.temporal_BG.tolist() == [[0.3, 0.0], [0.0, 0.0]]
    of_group = temporal_advantages(rewards, "group", NO_EMA)
    assert of_group[0].tolist() == pytest.approx(of_group[1].tolist(), abs=1e-3)
    of_batch = temporal_advantages(rewards, "batch", NO_EMA)
    # Rewards 2.3, 1, 2, 1: deviations 0.725, -0.575, 0.425, -0.575, variance 1.3675 / 3
    std = (1.3675 / 3) ** 0.5 + EPSILON
    assert of_batch.flatten().tolist() == pytest.approx([0.65 / std, -0.65 / std, 0.5 / std, -0.5 / std])
    assert temporal_effect(of_group, rewards, "group", NO_EMA) < 1e-3
    assert temporal_effect(of_batch, rewards, "batch", NO_EMA) > 0.1


def test_relation_grades_by_the_questions_own_grader() -> None:
    sample = question("clip", answer="10").model_copy(update={"problem_type": "regression", "options": []})
    found = grades_of([group_of(sample, ["10", "9"], ["20"])], 1)
    # 1 − |10 − 20| / 20 = 0.5 and 1 − |9 − 20| / 20 = 0.45
    assert found.agreement_BG[0].tolist() == pytest.approx([0.5, 0.45])
    rewards = group_rewards(found, RewardParams(temporal="relation", alpha=1.0))
    assert rewards.temporal_BG[0].tolist() == pytest.approx([0.5, 0.55])  # 9 for 10 is correct with 0.9


def test_tokens_weighs_the_gradient_and_pays_nothing() -> None:
    groups = [group_of(question("clip", answer="B"), ["B", "A"], ["A", "A"]) for _ in range(2)]
    params = RewardParams(temporal="tokens", alpha=2.0)
    rewards = group_rewards(grades_of(groups, 2), params)
    assert not rewards.temporal_BG.any()
    weights = response_weights(groups, torch.tensor([True, False]), params)
    assert weights is not None
    # 1 + 2 · clip(Δ, 0, 1) = 1, 2 with mean 1.5; the second question has no term
    assert [row.tolist() for row in weights[0]] == [pytest.approx([2 / 3, 4 / 3])] * 2
    assert [row.tolist() for row in weights[1]] == [[1.0, 1.0]] * 2
    # |A| · mean |w − 1| = 1.5 / 3 and 0.9 / 3 in the first question, 0 in the second, over four responses
    moved = weight_effect(torch.tensor([[1.5, -0.9], [2.0, -2.0]]), weights)
    assert float(moved) == pytest.approx((1.5 / 3 + 0.9 / 3) / 4)
    assert response_weights(groups, torch.tensor([True, True]), RewardParams(temporal="likelihood")) is None


def test_token_weights_have_mean_1_and_bounds() -> None:
    # 1 + 3 · clip(Δ, 0, 1): 1, 1, 4, 2 with mean 2
    weights_C = token_weights(torch.tensor([-5.0, 0.0, 7.0, 1 / 3]), alpha=3.0)
    assert weights_C.tolist() == pytest.approx([0.5, 0.5, 2.0, 1.0])
    assert token_weights(torch.tensor([0.2, 0.9]), alpha=0.0).tolist() == [1.0, 1.0]
    many_C = token_weights(torch.cat([torch.ones(1), torch.zeros(10_000)]), alpha=3.0)
    assert float(many_C.max()) <= 4.0
    assert float(many_C.min()) >= 0.25


def test_the_contrast_is_normalised_over_the_questions_of_the_batch() -> None:
    # p − p̃ = 1, 0, ½, and an image: mean ½, unbiased std ½, so z = 1, −1, 0
    found = grades(
        [[1, 1], [0, 0], [1, 0], [1, 1]], [[0, 0], [0, 0], [0, 0], [0, 0]], has_contrast=[True, True, True, False]
    )
    z = 0.5 / (0.5 + EPSILON)
    assert normalised_contrast(found, 0.5).tolist() == pytest.approx([z, -z, 0, 0])
    rewards = group_rewards(found, RewardParams(temporal="paper", alpha=0.3, contrast_scale="batch"))
    assert rewards.temporal_BG.flatten().tolist() == pytest.approx([0.3 * z, 0.3 * z, 0, 0, 0, 0, 0, 0])
    alone = grades([[1, 1]], [[0, 0]])
    assert normalised_contrast(alone, 0.5).tolist() == [0.0]  # one question has nothing to be compared with


def test_the_gate_closes_where_contrast_answers_are_as_right_over_the_last_visits() -> None:
    gate = Gate(visits=2, correct_above=0.5)
    static, temporal, image = [[1, 0], [1, 1], [1, 1]], [[1, 0], [0, 0], [0, 0]], [True, True, False]
    first = gate.closed(["static", "temporal", "image"], grades(static, temporal, image))
    assert first.tolist() == [False, False, False]  # one visit is less than two
    second = gate.closed(
        ["static", "temporal", "image"], grades([[1, 1], [0, 0], [1, 1]], [[1, 1], [1, 0], [0, 0]], image)
    )
    # static: p 0.5 + 1, p̃ 0.5 + 1; temporal: p 1 + 0, p̃ 0 + 0.5
    assert second.tolist() == [True, False, False]
    assert gate.history == {"static": [(0.5, 0.5), (1.0, 1.0)], "temporal": [(1.0, 0.0), (0.0, 0.5)]}
    third = gate.closed(["static", "temporal"], grades([[1, 1], [0, 0]], [[0, 0], [0, 0]]))
    # The first visits are forgotten. static: p 1 + 1, p̃ 1 + 0; temporal: p 0 + 0, p̃ 0.5 + 0
    assert third.tolist() == [False, True]


def test_a_gated_question_has_no_temporal_term() -> None:
    found = grades([[1, 1], [1, 1]], [[0, 0], [0, 0]], likelihood_BG=torch.ones(2, 2, dtype=torch.float64))
    rewards = group_rewards(found, RewardParams(temporal="likelihood", alpha=0.5), torch.tensor([True, False]))
    assert rewards.temporal_BG.tolist() == [[0.0, 0.0], [0.5, 0.5]]
    assert rewards.condition_B.tolist() == [False, True]


def test_every_mode_has_its_object_and_its_row_in_the_docs() -> None:
    assert tuple(MODES) == get_args(TemporalMode)
    page = Path("docs/training.md").read_text(encoding="utf-8")
    assert [name for name in MODES if f"`{name}`" not in page] == []


def test_a_step_compares_what_its_mode_needs_and_at_times_what_faithfulness_needs() -> None:
    thought = StepParams(temporal="thought", faithfulness_every=2)
    assert [thought.compared(step) for step in (0, 1)] == [{"thoughts", "likelihood"}, {"thoughts"}]
    alone = StepParams(temporal="off", contrast_size=0, faithfulness_every=2)  # nobody writes thoughts to exchange
    assert [alone.compared(step) for step in (0, 1)] == [{"nothing", "likelihood"}, {"nothing"}]
    assert alone.uses_contrast
    assert not StepParams(temporal="off", contrast_size=0).uses_contrast
    assert StepParams(temporal="likelihood", contrast_size=0).uses_contrast


def test_without_visits_there_is_no_gate() -> None:
    gate = Gate(visits=0, correct_above=0.5)
    assert gate.closed(["static"], grades([[0, 0]], [[1, 1]])).tolist() == [False]
    assert gate.history == {}

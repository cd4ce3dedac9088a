"""Which process takes which questions."""

import json

import pytest
import torch

from stages.rl.params import StepParams
from stages.rl.sharing import StepPlan, shared_step
from tests.model.tiny_models import question

NUMBER = question("number").model_copy(update={"problem_type": "numerical"})
SAMPLES = [question("short"), question("long"), NUMBER, question("picture", data_type="image")]


def plan(processes: int, rows: list[int], batch_size: int = 1, contrast_size: int = 2) -> StepPlan:
    params = StepParams(group_size=3, contrast_size=contrast_size, temporal="off")
    return StepPlan(params, rows, SAMPLES, [10, 40, 10, 10], len(rows) // 2, batch_size, processes)


def test_one_process_takes_all_micro_batches_in_the_order_of_the_plan() -> None:
    shared = shared_step([7, 8, 9, 6], batch_size=2, processes=1, costs=[1, 1, 5, 5])
    assert shared.shares == [[[0, 1], [2, 3]]]
    assert shared.rows_of(0) == [7, 8, 9, 6]


def test_the_costliest_micro_batches_go_to_different_processes_and_all_have_as_many() -> None:
    shared = shared_step([4, 5, 6, 7, 8, 9], batch_size=1, processes=2, costs=[9, 8, 1, 2, 1, 1])
    # 9, then 8; then 2 to the second, 1 to the first, 1 to the first; the last one where there is room
    assert shared.shares == [[[0], [2], [4]], [[1], [3], [5]]]
    assert [shared.rows_of(process) for process in (0, 1)] == [[4, 6, 8], [5, 7, 9]]
    uneven = shared_step([0, 1, 2, 3], batch_size=1, processes=2, costs=[9, 1, 1, 1])
    assert uneven.shares == [[[0], [3]], [[1], [2]]]  # without the equal number the second would have three


def test_what_a_micro_batch_holds_does_not_depend_on_the_processes() -> None:
    costs = [3, 1, 4, 1, 5, 9, 2, 6]
    batches = [shared_step(range(8), 2, processes, costs).shares for processes in (1, 2, 4)]
    assert all(sorted(batch for share in shares for batch in share) == batches[0][0] for shares in batches)
    assert all(shares[0][0] == [0, 1] for shares in batches)


def test_values_of_all_processes_come_back_in_the_order_of_the_plan() -> None:
    shared = shared_step([0, 1, 2, 3], batch_size=1, processes=2, costs=[9, 1, 1, 1])
    gathered = torch.tensor([place for process in (0, 1) for place in shared.places(process)])
    assert gathered[shared.order].tolist() == [0, 1, 2, 3]


def test_a_question_costs_the_tokens_of_its_prompts_and_expected_responses() -> None:
    asked = plan(1, [0, 1, 2, 3] * 2)
    assert [asked.cost(row) for row in range(4)] == [20, 80, 20, 10]  # a picture has no contrast
    asked.note(SAMPLES[1:3], torch.tensor([[4, 6, 8], [1, 2, 3]]))
    asked.step_and_next(0)
    assert [asked.cost(row) for row in range(4)] == [20 + 5 * 6, 80 + 5 * 6, 20 + 5 * 2, 10 + 3 * 6]
    asked.note(SAMPLES[2:3], torch.tensor([[12, 12, 12]]))
    asked.step_and_next(0)
    assert asked.lengths == pytest.approx({"multiple choice": 6, "numerical": 0.9 * 2 + 0.1 * 12})
    assert [plan(1, [0] * 2, contrast_size=0).cost(row) for row in (0, 3)] == [10, 10]


def test_a_type_without_responses_is_expected_to_answer_as_the_others_do() -> None:
    asked = plan(1, [0, 2])
    asked.note(SAMPLES[:1], torch.tensor([[8, 8, 8]]))
    asked.step_and_next(0)
    assert asked.cost(2) == 20 + 5 * 8


def test_the_next_rollout_is_shared_out_before_the_responses_of_this_one_and_a_resume_shares_alike() -> None:
    rows = [0, 1, 2, 3, 3, 2, 1, 0]
    asked, resumed = plan(2, rows), plan(2, rows)
    _, announced = asked.step_and_next(0)
    asked.note(SAMPLES, torch.tensor([[1], [1], [500], [1]]))
    resumed.restore(json.loads(json.dumps(asked.state())))
    this, beyond = resumed.step_and_next(1)
    assert this == announced == asked.step_and_next(1)[0]
    assert beyond.rows_of(0) == beyond.rows_of(1) == []
    assert resumed.lengths == asked.lengths == {"multiple choice": 1.0, "numerical": 500.0}

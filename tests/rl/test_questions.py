from stages.rl.questions import question_plan, replacement


def test_every_epoch_asks_each_question_once_in_another_order() -> None:
    plan = question_plan(total=6, steps=4, per_step=3, updates_per_rollout=1, seed=0)
    assert sorted(plan[:6]) == sorted(plan[6:]) == [0, 1, 2, 3, 4, 5]
    assert plan[:6] != plan[6:]
    assert plan == question_plan(6, 4, 3, 1, seed=0)
    assert plan != question_plan(6, 4, 3, 1, seed=1)


def test_the_updates_of_one_rollout_share_its_questions() -> None:
    plan = question_plan(total=9, steps=5, per_step=2, updates_per_rollout=2, seed=0)
    steps = [plan[start : start + 2] for start in range(0, 10, 2)]
    assert len(plan) == 10
    assert steps[0] == steps[1] != steps[2] == steps[3] != steps[4]


def test_a_step_may_ask_more_questions_than_there_are() -> None:
    assert sorted(question_plan(total=2, steps=1, per_step=6, updates_per_rollout=1, seed=0)) == [0, 0, 0, 1, 1, 1]


def test_another_question_is_drawn_by_seed_and_is_none_of_those_in_use() -> None:
    drawn = [replacement(4, [4, 1], 6, 7, step) for step in range(40)]
    assert drawn == [replacement(4, [4, 1], 6, 7, step) for step in range(40)]
    assert set(drawn) == {0, 2, 3, 5}
    assert replacement(0, [0, 1], 2, 7) in (0, 1)  # nothing else to ask

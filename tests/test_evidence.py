import pytest

from benchmarks.evidence import ARMS, interval, table
from stages.tgrpo import TgrpoParams


def test_the_interval_is_students_t():
    # Mean 4, squared deviations 4 0 4, unbiased std 2; t for 2 degrees of freedom is 4.3027
    mean, half = interval([2.0, 4.0, 6.0])
    assert mean == 4.0
    assert half == pytest.approx(4.302653 * 2 / 3**0.5, rel=1e-6)
    assert interval([3.0]) == (3.0, None)


def test_every_arm_is_a_recipe_that_the_stage_accepts_and_they_differ():
    recipes = [TgrpoParams.model_validate(changes) for changes in ARMS.values()]
    assert len({(recipe.temporal, recipe.scale) for recipe in recipes}) == len(recipes) == 6


def test_the_table_has_the_cold_start_and_every_arm_with_its_gain():
    start = {"ordered": 0.5, "shuffled": 0.3, "gap": 0.2, "static": 0.9, "all": 0.7}
    runs = [start | {"ordered": value, "condition_rate": 0.75, "temporal_effect": 0.125} for value in (0.58, 0.62)]
    lines = table(start, {"T-GRPO strict": runs, "GRPO": runs[:1]}).splitlines()
    assert lines[2] == "| SFT |  | 50.0 |  | 30.0 | 20.0 | 90.0 | 70.0 |  |  |"
    # Mean 60, std √8, t for one degree of freedom 12.7062: 12.7062 · √8 / √2 = 25.4
    assert lines[3].startswith("| T-GRPO strict | 2 | 60.0 ± 25.4 | 10.0 ± 25.4 | 30.0 ± 0.0 | 20.0 ± 0.0 |")
    assert lines[4] == "| GRPO | 1 | 58.0 | 8.0 | 30.0 | 20.0 | 90.0 | 70.0 | 75.0 | 0.125 |"

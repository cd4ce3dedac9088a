import json
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.evidence import ARMS, Accuracies, Figures, interval, markdown
from stages.tgrpo import TgrpoParams
from tests.conftest import ROOT


def test_the_interval_is_students_t() -> None:
    # Mean 4, squared deviations 4 0 4, unbiased std 2; t for 2 degrees of freedom is 4.3027
    mean, half = interval([2.0, 4.0, 6.0])
    assert mean == 4.0
    assert half == pytest.approx(4.302653 * 2 / 3**0.5, rel=1e-6)
    assert interval([3.0]) == (3.0, None)


def test_every_arm_is_a_recipe_that_the_stage_accepts_and_they_differ() -> None:
    recipes = [TgrpoParams.model_validate(changes) for changes in ARMS.values()]
    assert len({(recipe.temporal, recipe.scale) for recipe in recipes}) == len(recipes) == 6


def test_the_table_has_the_cold_start_and_every_arm_with_its_gain() -> None:
    start: Accuracies = {"ordered": 0.5, "shuffled": 0.3, "gap": 0.2, "static": 0.9, "all": 0.7}
    runs: list[Figures] = [
        {**start, "ordered": value, "condition_rate": 0.75, "temporal_effect": 0.125} for value in (0.58, 0.62)
    ]
    lines = markdown(start, {"T-GRPO strict": runs, "T-GRPO paper": runs[:1], "GRPO": runs[:1]}).splitlines()
    assert lines[2] == "| SFT |  | 50.0 |  | 30.0 | 20.0 | 90.0 | 70.0 |  |  |"
    # Mean 60, std √8, t for one degree of freedom 12.7062: 12.7062 · √8 / √2 = 25.4
    assert lines[3].startswith("| T-GRPO strict | 2 | 60.0 ± 25.4 | 10.0 ± 25.4 | 30.0 ± 0.0 | 20.0 ± 0.0 |")
    assert lines[4] == "| T-GRPO paper | 1 | 58.0 | 8.0 | 30.0 | 20.0 | 90.0 | 70.0 | 75.0 | 0.125 |"
    assert lines[5] == "| GRPO | 1 | 58.0 | 8.0 | 30.0 | 20.0 | 90.0 | 70.0 |  |  |"


@pytest.mark.slow
def test_an_arm_is_trained_and_evaluated_once(root: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "experiments.evidence",
        "--root",
        str(root),
        "--arms",
        "T-GRPO paper",
        "--seeds",
        "0",
    ]
    first = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert first.returncode == 0, first.stderr
    found = json.loads(first.stderr.splitlines()[-1])
    assert set(found["arms"]) == {"T-GRPO paper"}
    assert {"ordered", "shuffled", "gap", "static", "all"} <= set(found["sft"])
    written = {path: path.stat().st_mtime_ns for path in root.glob(".work/evidence/*/*.log")}
    assert len(written) == 3  # the cold start is evaluated, the arm trained and evaluated
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert again.stderr.splitlines()[-1] == first.stderr.splitlines()[-1]
    assert {path: path.stat().st_mtime_ns for path in root.glob(".work/evidence/*/*.log")} == written

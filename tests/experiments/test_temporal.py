import json
import shutil
import sys
from pathlib import Path

import pytest

from experiments import temporal
from experiments.evidence import PROJECT
from experiments.runs import finished
from experiments.temporal_figure import across, figure, read
from experiments.temporal_rows import ARMS, Row, Run, planned, run_of
from experiments.temporal_table import arms_table, differences_table, holm, measured, sign_flip_p, tables
from stages.tgrpo import TgrpoParams


def row(arm: str, ordered: float, cold_start: int = 0, seed: int | None = 0) -> Row:
    return {
        "place": "rl",
        "cold_start": cold_start,
        "seed": seed,
        "arm": arm,
        "commit": "abc",
        "processor": "made up",
        "accuracy": {"ordered": ordered, "shuffled": 0.3, "gap": 0.2, "static": 1.0, "all": 0.7},
        "looks": 0.5,
        "answers_change": 0.0,
        "steps": {"temporal_effect": 0.25},
        "seconds": {"training": 120, "contrast": 6, "faithfulness": 1},
    }


def test_the_plan_has_every_arm_of_a_seed_before_the_next_seed() -> None:
    plan = planned()
    assert len(plan) == len(set(plan)) == 126 + 9
    assert plan[0] == Run("rl", 0, None, "cold start")
    assert plan[1:7] == [Run("rl", 0, 0, arm) for arm in ARMS]
    assert plan[7] == Run("rl", 0, 1, "GRPO")
    assert [run.place for run in plan if run.seed is None] == ["rl"] * 3 + ["both"] * 3 + ["none"] * 3


def test_every_arm_is_a_recipe_that_the_stage_accepts() -> None:
    assert len({TgrpoParams.model_validate(changes).temporal for changes in ARMS.values()}) == len(ARMS) == 6


def test_the_sign_flip_test_counts_all_sign_patterns() -> None:
    # Of the 8 sums of ±1 ±2 ±3, two are at least 6 in size; of those of ±1 ±1 ±3 six are at least 3.
    assert sign_flip_p([1, 2, 3]) == 2 / 8
    assert sign_flip_p([1, -1, 3]) == 6 / 8
    assert sign_flip_p([1.0] * 9) == 2 / 512


def test_holm_multiplies_the_smallest_p_most_and_keeps_the_order() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]


def test_the_tables_show_each_arm_and_its_paired_difference() -> None:
    rows = [row("cold start", 0.5, seed=None)]
    rows += [row("GRPO", 0.5 + seed / 100, seed=seed) for seed in range(3)]
    rows += [row("likelihood", 0.7 + 2 * seed / 100, seed=seed) for seed in range(2)]
    lines = arms_table(rows).splitlines()
    assert lines[2].startswith("| cold start | 1 | 50.0 | 30.0 | 20.0 | 100.0 | 70.0 | 50.0 | 0.0 | 0.250 |  |  |")
    # Mean 51, std 1: 4.3027 / √3 = 2.5
    assert lines[3].startswith("| GRPO | 3 | 51.0 ± 2.5 |")
    # Differences 20 and 21: mean 20.5, std √½, 12.7062 · √½ / √2 = 6.4; two of four sign patterns are as large
    assert differences_table(measured(rows)).splitlines()[2] == "| likelihood | 2 | 20.5 ± 6.4 | 0.500 | 0.500 |"
    assert tables(rows).startswith("**Shortcut in the RL set alone**")
    assert differences_table(measured(rows[:2])) == ""


def test_the_figure_has_a_dot_with_its_interval_for_each_arm_that_ran() -> None:
    rows = [row("GRPO", 0.5, seed=seed) for seed in range(2)]
    rows += [row("likelihood", 0.6 + 2 * seed / 100, seed=seed) for seed in range(2)]
    drawn = figure(rows)
    # Differences 10 and 12: mean 11, half width 12.7062 · √2 / √2
    assert drawn.count("<circle") == 1
    assert "<title>+11.0</title>" in drawn
    assert f'x1="{across(11 - 12.7062):.1f}" x2="{across(11 + 12.7062):.1f}"' in drawn


def test_the_figure_of_the_docs_shows_the_rows_that_are_there() -> None:
    assert (PROJECT / "docs" / "images" / "temporal.svg").read_text(encoding="utf-8") == figure(read())


@pytest.mark.slow
def test_a_run_with_a_row_is_not_run_again(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(temporal, "STEPS", 2)
    monkeypatch.setattr(temporal, "FAITHFULNESS_EVERY", 1)
    place = root / ".work" / "temporal"
    (place / "cold-rl-0").mkdir(parents=True)
    shutil.copytree(root / "models" / "sft", place / "cold-rl-0" / "model")
    shutil.copytree(root / "data", place / "shortcut-0.9" / "data")
    shutil.copy(root / "params.yaml", place / "cold-rl-0" / "params.yaml")
    table = root / "temporal.jsonl"
    monkeypatch.setattr(sys, "argv", ["temporal", "--root", str(root), "--table", str(table), "--runs", "2"])
    temporal.main()
    rows = finished(table)
    assert [run_of(each) for each in rows] == planned()[:2]
    assert rows[1]["seconds"]["training"] >= 0
    assert rows[1]["steps"]["likelihood_gain"] is not None
    assert "| GRPO | 1 |" in capsys.readouterr().out
    table.write_text("".join(json.dumps(each) + "\n" for each in [*rows, *(_made(run) for run in planned()[2:])]))
    monkeypatch.setattr(sys, "argv", ["temporal", "--root", str(root), "--table", str(table)])
    monkeypatch.setattr(temporal, "perform", _refuse)
    temporal.main()
    assert len(finished(table)) == len(planned())


def _made(run: Run) -> Row:
    return {**row(run.arm, 0.5, run.cold_start, run.seed), "place": run.place}


def _refuse(root: Path, run: Run) -> Row:
    raise AssertionError(f"{run} was run again")

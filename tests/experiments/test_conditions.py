import json
import sys
from pathlib import Path

import pytest

from experiments import conditions
from experiments.conditions import planned, with_first
from experiments.temporal_rows import FURTHER_ARMS, TESTBEDS, Run
from stages.tgrpo import TgrpoParams
from tests.experiments.test_temporal import row


def test_the_plan_has_each_run_once_and_every_arm_is_a_recipe_of_its_own() -> None:
    plan = planned()
    assert len(plan) == len(set(plan)) == 39 + 3 + 6
    assert {run.place for run in plan} <= set(TESTBEDS)
    assert [run.arm for run in plan if run.seed is None] == ["cold start"] * 3
    recipes = [TgrpoParams.model_validate(changes) for changes in FURTHER_ARMS.values()]
    assert len({recipe.model_dump_json() for recipe in recipes}) == len(FURTHER_ARMS)


def test_the_tables_compare_with_the_first_experiments_runs_of_the_same_seed() -> None:
    first = conditions.finished(Path(conditions.__file__).with_name("temporal.jsonl"))
    grpo = next(100 * each["accuracy"]["ordered"] for each in first if run_is(each, Run("rl", 0, 0, "GRPO")))
    lines = with_first([row("thought", (grpo + 5) / 100)]).splitlines()
    assert "| thought | 1 | 5.0 |" in "\n".join(lines)
    assert not any("ordinary" in line for line in lines)  # no run of that testbed


def run_is(each: dict[str, object], run: Run) -> bool:
    return (each["place"], each["cold_start"], each["seed"], each["arm"]) == run


def test_what_the_table_lacks_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[Run] = []

    def perform(root: Path, run: Run) -> dict[str, object]:
        ran.append(run)
        return {**row(run.arm, 0.5, run.cold_start, run.seed), "place": run.place}

    monkeypatch.setattr(conditions, "perform", perform)
    table = tmp_path / "rows.jsonl"
    for _ in range(2):
        monkeypatch.setattr(sys, "argv", ["conditions", "--table", str(table), "--runs", "2"])
        conditions.main()
    assert ran == planned()[:4]
    assert [json.loads(line)["arm"] for line in table.read_text().splitlines()] == [run.arm for run in ran]

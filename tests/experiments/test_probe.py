import sys
from pathlib import Path

import pytest

from experiments import probe
from experiments.probe import ARMS, Row, planned, run_of, table
from stages.probe import ProbeParams


def row(arm: str, ordered: float, seed: int = 0) -> Row:
    return {
        "place": "rl",
        "cold_start": 0,
        "seed": seed,
        "arm": arm,
        "commit": "abc",
        "processor": "made up",
        "questions": 900,
        "accuracy": {"ordered": ordered, "shuffled": 0.3, "gap": 0.2, "static": 1.0, "all": 0.7},
    }


def test_every_arm_of_a_seed_comes_before_the_next_seed_and_has_rules_that_the_stage_accepts() -> None:
    plan = planned()
    assert len(plan) == len(set(plan)) == 108
    assert [run.arm for run in plan[:6]] == list(ARMS)
    assert {(run.place, run.cold_start, run.seed) for run in plan[:6]} == {("rl", 0, 0)}
    for rules in ARMS.values():
        assert ProbeParams.model_validate_json(f'{{"rules": {rules}}}'.replace("'", '"')).rules == tuple(rules)


def test_the_table_has_means_and_differences_that_are_paired() -> None:
    rows = [row("all questions", 0.25), row("needs_order", 0.5), row("needs_order", 0.75, seed=1)]
    lines = table(rows).splitlines()
    assert lines[2:4] == ["| all questions | 1 | 900 | 25.0 |", "| needs_order | 2 | 900 | 62.5 |"]
    assert lines[-1].startswith("| needs_order | 1 | 25.0 |")  # seed 1 has no run on all questions


def test_a_run_with_a_row_is_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[probe.Run] = []

    def perform(root: Path, run: probe.Run) -> Row:
        ran.append(run)
        return row(run.arm, 0.5, run.seed)

    monkeypatch.setattr(probe, "perform", perform)
    for _ in range(2):
        monkeypatch.setattr(sys, "argv", ["probe", "--table", str(tmp_path / "rows.jsonl"), "--runs", "2"])
        probe.main()
    assert ran == planned()[:4]
    assert run_of(row("needs_order", 0.5)) in planned()

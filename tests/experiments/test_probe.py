import sys
from pathlib import Path

import pytest

from experiments import probe
from experiments.probe import ALL_QUESTIONS, ARMS, Row, planned, run_of, table
from experiments.runs import finished
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
    assert len(plan) == len(set(plan)) == 60
    assert [run.arm for run in plan[:5]] == list(ARMS)
    assert {(run.place, run.cold_start, run.seed) for run in plan[:5]} == {("rl", 0, 0)}
    for rules in ARMS.values():
        assert ProbeParams.model_validate_json(f'{{"rules": {rules}}}'.replace("'", '"')).rules == tuple(rules)


def test_the_table_has_means_and_differences_that_are_paired() -> None:
    grpo = [
        row for row in finished(ALL_QUESTIONS) if (row["place"], row["arm"], row["cold_start"]) == ("rl", "GRPO", 0)
    ]
    first, second = (100 * row["accuracy"]["ordered"] for row in grpo[:2])
    lines = table(
        [row("needs_order", (first + 10) / 100), row("needs_order", (second + 20) / 100, seed=1)]
    ).splitlines()
    assert lines[2:4] == [
        f"| GRPO | 2 | all | {(first + second) / 2:.1f} |",
        f"| needs_order | 2 | 900 | {(first + second) / 2 + 15:.1f} |",
    ]
    assert lines[-1].startswith("| needs_order | 2 | 15.0 ± ")
    assert lines[-1].endswith("| 0.500 | 0.500 |")  # of the signs of two pairs


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

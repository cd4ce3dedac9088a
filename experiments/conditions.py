"""The runs of experiments/conditions.md: how far the temporal reward per response carries.

    python -m experiments.conditions [--root FOLDER] [--table FILE] [--runs N]

It works as experiments/temporal.py does and shares that experiment's folder, clips and cold starts. Its rows are in
FILE (default: experiments/conditions.jsonl). Where the testbed is one of the first experiment, its runs of GRPO are
those of experiments/temporal.jsonl, with the same cold starts and seeds.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments.runs import finished, perform_planned
from experiments.temporal import perform
from experiments.temporal_rows import BASELINE, COLD_STARTS, FURTHER_ARMS, Place, Row, Run, run_of
from experiments.temporal_table import tables

PLAN: Mapping[Place, Sequence[str]] = {
    "none": ["likelihood, α 0.5", "thought"],
    "rl": list(FURTHER_ARMS),
    "rl 0.75": [BASELINE, "likelihood"],
    "rl 1.0": [BASELINE, "likelihood"],
    "looking": ["cold start", BASELINE, "likelihood"],
    "both": ["thought"],
}
SEEDS: Mapping[tuple[Place, str], Sequence[int]] = {("rl", "likelihood, α 0.5"): range(3)}  # all others: seed 0


def planned() -> list[Run]:
    """Every run, testbed by testbed, cold start by cold start."""
    return [
        Run(place, cold_start, None if arm == "cold start" else seed, arm)
        for place, arms in PLAN.items()
        for cold_start in COLD_STARTS
        for arm in arms
        for seed in SEEDS.get((place, arm), range(1))
    ]


def with_first(rows: Sequence[Row]) -> str:
    """The tables, with the first experiment's matching runs beside them.

    Matching runs have the same cold starts and seed.
    """
    first = finished(Path(__file__).with_name("temporal.jsonl"))
    used = {(row["place"], seed) for row in rows for seed in (None, row["seed"])}
    return tables([row for row in first if (row["place"], row["seed"]) in used] + list(rows))


def main() -> None:
    """Run what the table lacks, and print what it says."""
    about = "How far the temporal reward per response carries (experiments/conditions.md)."
    perform_planned(about, Path(__file__).with_suffix(".jsonl"), planned(), run_of, perform, with_first)


if __name__ == "__main__":
    main()

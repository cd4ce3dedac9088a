"""The runs of experiments/probe.md: GRPO on the questions that rules keep.

    python -m experiments.probe [--root FOLDER] [--table FILE] [--runs N]

FOLDER is a checkout as experiments/temporal.py needs it; clips with a shortcut and cold starts are shared with it. A
finished run is one row of FILE (default: experiments/probe.jsonl). A run with a row is not run again. A stopped run
goes on from its last checkpoint, and a cold start is probed once for all arms.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple, TypedDict

import numpy as np
import pyarrow.parquet as pq

from experiments.evidence import Accuracies, evaluated, run_stage, train_tgrpo
from experiments.runs import commit, finished, perform_planned
from experiments.temporal import STEPS, cold_start, data, processor, settings, work
from experiments.temporal_rows import BASELINE, COLD_STARTS, SEEDS, TESTBEDS, Place
from experiments.temporal_rows import Row as TemporalRow
from experiments.temporal_rows import Run as TemporalRun
from experiments.temporal_table import differences_table, measured
from stages.data.sample import TRAINING_SCHEMA
from stages.run.files import write_atomic, write_table

log = logging.getLogger(__name__)

PLACES: tuple[Place, ...] = ("rl", "none")
ARMS: Mapping[str, list[str]] = {
    "needs_video": ["needs_video"],
    "needs_order": ["needs_order"],
    "learnable": ["learnable"],
    "all three": ["needs_video", "needs_order", "learnable"],
    "random": ["needs_order"],  # as many questions as this rule keeps
}
ALL_QUESTIONS = Path(__file__).with_name("temporal.jsonl")
"""Its runs of GRPO, with the same cold starts and seeds, are those on all questions."""


class Run(NamedTuple):
    """One training: where the shortcut is, sft.seed, tgrpo.seed, and the arm."""

    place: Place
    cold_start: int
    seed: int
    arm: str


class Row(TypedDict):
    """A finished run.

    It says what it was, where it ran, how many questions it had, and its accuracies.
    """

    place: Place
    cold_start: int
    seed: int
    arm: str
    commit: str
    processor: str
    questions: int
    accuracy: Accuracies


def planned() -> list[Run]:
    """Every run, RL seed by RL seed.

    A place has the seeds that it has in the temporal experiment.
    """
    return [
        Run(place, start, seed, arm)
        for seed in range(3)
        for place in PLACES
        if seed in SEEDS[place]
        for start in COLD_STARTS
        for arm in ARMS
    ]


def run_of(row: Row) -> Run:
    """The run that a row is about."""
    return Run(row["place"], row["cold_start"], row["seed"], row["arm"])


def perform(root: Path, run: Run) -> Row:
    """Choose the questions, train, and evaluate one run."""
    start = cold_start(root, TemporalRun(run.place, run.cold_start, None, "cold start"))
    source = data(root, TESTBEDS[run.place].shortcut)
    questions = chosen(root, run, start, source)
    folder = work(root) / "probe" / f"{run.place}-{run.cold_start}-{run.seed}-{run.arm.replace(' ', '-')}"
    folder.mkdir(parents=True, exist_ok=True)
    changes: dict[str, Any] = {"temporal": "off", "seed": run.seed, "max_steps": STEPS, "threads": 1}
    changes["guards"] = {"max_zero_variance": 1.0}  # a set that teaches nothing is a result
    write_atomic(folder / "params.yaml", settings(root, {"tgrpo": changes}))
    model = train_tgrpo(folder, questions, source / "frames", start)
    return {
        "place": run.place,
        "cold_start": run.cold_start,
        "seed": run.seed,
        "arm": run.arm,
        "commit": commit(),
        "processor": processor(),
        "questions": pq.read_metadata(questions).num_rows,
        "accuracy": evaluated(root, folder, model),
    }


def chosen(root: Path, run: Run, start: Path, source: Path) -> Path:
    """An arm's RL set: what its rules keep, or random questions.

    The arm `random` takes as many questions as its rule keeps.
    """
    folder = work(root) / "probe" / f"{run.place}-{run.cold_start}"
    folder.mkdir(parents=True, exist_ok=True)
    probing = {"models": ["sft"], "rules": ARMS[run.arm], "answers": 4, "max_new_tokens": 72, "threads": 1}
    write_atomic(folder / "params.yaml", settings(root, {"probe": probing}))
    out = folder / run.arm.replace(" ", "-")
    run_stage(
        "probe", folder, name="cold", model=start, questions=source, frame_store=source / "frames",
        answers=folder / "answers.parquet", out=out, metrics=out / "metrics.json",
    )  # fmt: skip
    if run.arm != "random":
        return out / "rl.parquet"
    everything, count = pq.read_table(source / "rl.parquet").to_pylist(), pq.read_metadata(out / "rl.parquet").num_rows
    drawn = np.random.default_rng(run.seed).choice(len(everything), count, replace=False)
    path = out / f"random-{run.seed}.parquet"
    write_table(path, (everything[index] for index in sorted(drawn)), TRAINING_SCHEMA)
    return path


def table(rows: Sequence[Row]) -> str:
    """Questions and temporal accuracy of each arm, by place.

    Its paired differences are to GRPO on all questions.
    """
    grpo: list[TemporalRow] = [row for row in finished(ALL_QUESTIONS) if row["arm"] == BASELINE]
    parts = []
    for place in PLACES:
        chosen = [row for row in rows if row["place"] == place]
        pairs = {(row["cold_start"], row["seed"]) for row in chosen}
        first = measured([row for row in grpo if row["place"] == place and (row["cold_start"], row["seed"]) in pairs])
        lines = [f"| shortcut {TESTBEDS[place].words} | runs | questions | temporal |", "|---|---|---|---|"]
        lines += [f"| {BASELINE} | {len(first)} | all | {mean(first.values()):.1f} |"] if first else []
        accuracy = dict(first)
        for arm in ARMS:
            of_arm = [row for row in chosen if row["arm"] == arm]
            found = {(arm, row["cold_start"], row["seed"]): 100 * row["accuracy"]["ordered"] for row in of_arm}
            if found:
                questions = mean(row["questions"] for row in of_arm)
                lines.append(f"| {arm} | {len(found)} | {questions:.0f} | {mean(found.values()):.1f} |")
            accuracy |= found
        parts += ["\n".join(lines), differences_table(accuracy)] if chosen else []
    return "\n\n".join(part for part in parts if part)


def main() -> None:
    """Run what the table lacks, and print what it says."""
    about = "GRPO on chosen questions (experiments/probe.md)."
    perform_planned(about, Path(__file__).with_suffix(".jsonl"), planned(), run_of, perform, table)


if __name__ == "__main__":
    main()

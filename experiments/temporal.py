"""The temporal rewards against each other: the runs that experiments/temporal.md sets down.

    python -m experiments.temporal [--root FOLDER] [--table FILE] [--runs N]

FOLDER is a checkout in which `dvc repro filter sft benchmark` has run with the embedded parameters (default: this
one). What the protocol needs besides is made in FOLDER/.work/temporal: clips with a planted shortcut, and cold starts.
A finished run is one row of FILE (default: experiments/temporal.jsonl). A run with a row is not run again, also not on
another machine. A stopped run goes on from its last checkpoint. At the end the tables are printed.
"""

import csv
import hashlib
import json
import logging
import os
import platform
import shlex
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from ruamel.yaml import YAML

from experiments.evidence import PROJECT, benchmark, evaluated, fingerprint, load_settings, run_stage, train_tgrpo
from experiments.runs import commit, perform_planned
from experiments.temporal_rows import ARMS, FURTHER_ARMS, TESTBEDS, Row, Run, Seconds, planned, run_of
from experiments.temporal_table import tables
from stages.asking.exchange import changed_answers
from stages.data.grading.thought import frames_named
from stages.data.sample import read_samples
from stages.evaluation.benchmarks.shapes import TEMPORAL_FAMILIES
from stages.run.files import write_atomic
from stages.video.frame_store import FrameReader

log = logging.getLogger(__name__)

STEPS = 120
FAITHFULNESS_EVERY = 20
CARELESS_FAMILIES = ("direction", "describe", "position")  # the cold start glances in them


def perform(root: Path, run: Run) -> Row:
    """Train and evaluate one run."""
    start = cold_start(root, run)
    model, folder, steps = start, start.parent, {}
    questions = data(root, TESTBEDS[run.place].shortcut) / "rl.parquet"
    if run.seed is not None:
        changes: dict[str, Any] = {
            **{**ARMS, **FURTHER_ARMS}[run.arm],
            "seed": run.seed,
            "max_steps": STEPS,
            "faithfulness_every": FAITHFULNESS_EVERY,
            "threads": 1,
        }
        text = settings(root, {"tgrpo": changes})
        folder = work(root) / f"{run.place}-{run.cold_start}-{run.seed}-{run.arm}-{code(root, questions)}"
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / "params.yaml", text)
        model = train_tgrpo(folder, questions, questions.parent / "frames", start)
        steps = means(folder / "tgrpo.csv")
    accuracy = evaluated(root, folder, model)
    looks, changed = watched(root, folder / "predictions.parquet", model)
    return {
        "place": run.place,
        "cold_start": run.cold_start,
        "seed": run.seed,
        "arm": run.arm,
        "commit": commit(),
        "processor": processor(),
        "accuracy": accuracy,
        "looks": round(looks, 4),
        "answers_change": round(changed, 4),
        "steps": steps,
        "seconds": seconds_of(folder),
    }


def cold_start(root: Path, run: Run) -> Path:
    """The SFT model that a run starts from, trained if absent."""
    testbed = TESTBEDS[run.place]
    taught = run.place if testbed.in_sft or testbed.careless else "rl"
    folder = work(root) / f"cold-{taught}-{run.cold_start}"
    if not (folder / "model").exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / "params.yaml", settings(root, {"sft": {"seed": run.cold_start, "threads": 1}}))
        source = data(root, testbed.shortcut if testbed.in_sft else None, testbed.careless)
        run_stage(
            "sft", folder, samples=source / "sft.parquet", frame_store=source / "frames",
            model=root / "models" / "base", out=folder / "model", metrics=folder / "sft.json", plot=folder / "sft.csv",
        )  # fmt: skip
    return folder / "model"


def data(root: Path, shortcut: float | None, careless: float | None = None) -> Path:
    """The data folder of the pipeline with this shortcut and teacher.

    It is made if absent. None stands for the pipeline's own parameter.
    """
    if shortcut is None and careless is None:
        return root / "data"
    changes = {"shapes": {"shortcut": shortcut}, "annotate": {"careless": careless}}
    set_ones = {name: values for name, values in changes.items() if None not in values.values()}
    folder = work(root) / "-".join(f"{key}-{value}" for values in set_ones.values() for key, value in values.items())
    if not (folder / "data" / "rl.parquet").exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / "params.yaml", settings(root, set_ones))
        graph = YAML(typ="safe", pure=True).load((PROJECT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
        for stage in ("shapes", "ingest", "frames", "annotate", "filter"):
            command = [sys.executable, *shlex.split(graph[stage]["cmd"])[1:]]
            subprocess.run(command, cwd=folder, env={**os.environ, "PYTHONPATH": str(PROJECT)}, check=True)
    return folder / "data"


def watched(root: Path, predictions: Path, model: Path) -> tuple[float, float]:
    """The share of looks, and of temporal answers that change.

    An answer changes when the thought is exchanged (stages/generation/faithfulness.py).
    """
    texts: dict[str, dict[str, str]] = defaultdict(dict)  # by order
    for row in pq.read_table(predictions).to_pylist():
        texts[row["order"]][row["sample_id"]] = row["text"]
    prepared = benchmark(root)
    reader = FrameReader(prepared / "frames", prepared / "frames.parquet")
    samples = read_samples(prepared / "samples.parquet")
    looks = [
        frames_named(texts["ordered"][sample.sample_id]).different > 1
        for sample in samples
        if sample.category in CARELESS_FAMILIES
    ]
    temporal = [
        sample for sample in samples if sample.category in TEMPORAL_FAMILIES and sample.sample_id in texts["shuffled"]
    ]
    outputs = [(sample, texts["ordered"][sample.sample_id], texts["shuffled"][sample.sample_id]) for sample in temporal]
    changed = changed_answers(model, reader, outputs, load_settings(root)["evaluate"]["defaults"]["max_new_tokens"])
    return share(looks), share(changed)


def share(found: Sequence[bool]) -> float:
    """The share of true values, 0 of none."""
    return sum(found) / len(found) if found else 0.0


def means(plot: Path) -> dict[str, float | None]:
    """Means of some columns of plots/tgrpo.csv; None without a value.

    A mean is over the steps that have a value.
    """
    with open(plot, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    found = {}
    names = ("condition_rate", "temporal_effect", "likelihood_gain", "answer_gain", "answers_change", "frames_named")
    for name in (*names, "completion_tokens", "p", "p_contrast", "zero_variance"):
        values = [float(row[name]) for row in rows if row[name]]
        found[name] = round(sum(values) / len(values), 4) if values else None
    return found


def seconds_of(folder: Path) -> Seconds:
    """What the steps of a training took, also before a resume."""
    lines = [line for path in folder.glob(".work/tgrpo/*/*/steps.jsonl") for line in path.read_text().splitlines()]
    spent = [json.loads(line) for line in lines]
    whole = sum(value or 0 for row in spent for name, value in row.items() if name.startswith("seconds_"))
    contrast, faithfulness = (
        sum(row.get(f"seconds_{name}") or 0 for row in spent) for name in ("contrast", "faithfulness")
    )
    return {"training": round(whole), "contrast": round(contrast), "faithfulness": round(faithfulness)}


def settings(root: Path, changes: Mapping[str, Mapping[str, Any]]) -> str:
    """FOLDER's parameters with other values, as JSON, which is YAML.

    Evaluations run with one thread.
    """
    found = load_settings(root)
    found["evaluate"]["defaults"]["threads"] = 1
    for section, values in changes.items():
        found[section] = found.get(section, {}) | values
    return json.dumps(found, sort_keys=True)


def work(root: Path) -> Path:
    """Where the experiment keeps what it makes."""
    return root / ".work" / "temporal"


def code(root: Path, questions: Path) -> str:
    """A short hash of code and questions.

    A run that was stopped before they changed starts over.
    """
    return hashlib.sha256(fingerprint(root, questions).encode()).hexdigest()[:8]


def processor() -> str:
    """The processor's name, and the instructions that PyTorch uses on it.

    The name is that of Linux, or what Python knows.
    """
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {torch.backends.cpu.get_cpu_capability()}"


def main() -> None:
    """Run what the table lacks, and print what it says."""
    about = "The temporal rewards against each other (experiments/temporal.md)."
    perform_planned(about, Path(__file__).with_suffix(".jsonl"), planned(), run_of, perform, tables)


if __name__ == "__main__":
    main()

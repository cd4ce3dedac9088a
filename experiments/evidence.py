"""What each part of T-GRPO contributes: several ways to train × seeds.

All start from the same cold start, with the same data and budget.

    python -m experiments.evidence [--root FOLDER] [--arms NAME…] [--seeds N…] [--steps N] [--questions N]

FOLDER is a checkout in which `dvc repro filter sft benchmark` has run (default: this one). For a planted static
shortcut, take one where it ran with `shapes.shortcut` set. Every run trains by `stages.tgrpo` and answers the benchmark
by `stages.evaluate`, in FOLDER/.work/evidence, with the parameters of FOLDER's params.yaml but for its arm and seed. A
finished run is not run again, and a stopped one goes on. The printed table holds percent, as the mean over seeds and
the 95 % interval of Student's t; "– SFT" is the difference to the cold start. The last line is one JSON object.
"""

import argparse
import csv
import hashlib
import json
import logging
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict

import pyarrow.parquet as pq
from ruamel.yaml import YAML
from scipy import stats

from stages.run.files import read_json, write_atomic, write_json, write_table

log = logging.getLogger(__name__)


class Accuracies(TypedDict):
    """Shares of correct answers.

    `ordered`, `shuffled` and `gap` are those of temporal questions.
    """

    ordered: float
    shuffled: float
    gap: float
    static: float
    all: float


class Figures(Accuracies):
    """What one run reached; the last two are means over its steps."""

    condition_rate: float
    temporal_effect: float


ARMS: Mapping[str, dict[str, str]] = {
    "GRPO": {"temporal": "off"},
    "T-GRPO paper": {"temporal": "paper"},
    "T-GRPO strict": {"temporal": "strict"},
    "T-GRPO advantage": {"temporal": "advantage"},
    "GRPO, no std": {"temporal": "off", "scale": "none"},
    "T-GRPO paper, no std": {"temporal": "paper", "scale": "none"},
}
PROJECT = Path(__file__).parents[1]


def run_stage(stage: str, folder: Path, **flags: str | Path) -> None:
    """Run one stage as a process, with the parameters in `folder`.

    Its log goes to a file there. CalledProcessError when the stage fails.
    """
    arguments = [part for name, value in flags.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    with open(folder / f"{stage}.log", "w", encoding="utf-8") as file:
        subprocess.run(
            [sys.executable, "-m", f"stages.{stage}", "--params", str(folder / "params.yaml"), *arguments],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(PROJECT)},
            stderr=file,
            check=True,
        )


def train_tgrpo(folder: Path, questions: Path, frames: Path, start: Path) -> Path:
    """The folder's model, trained by T-GRPO with the folder's parameters."""
    model = folder / "model"
    run_stage(
        "tgrpo", folder, samples=questions, frame_store=frames, model=start, out=model,
        metrics=folder / "tgrpo.json", headline=folder / "headline.json", plot=folder / "tgrpo.csv",
        rollouts=folder / "rollouts.parquet",
    )  # fmt: skip
    return model


def load_settings(root: Path) -> dict[str, Any]:
    """FOLDER's params.yaml."""
    return YAML(typ="safe", pure=True).load((root / "params.yaml").read_text(encoding="utf-8"))


def parameters(root: Path, changes: Mapping[str, str | int]) -> str:
    """FOLDER's parameters with other values for tgrpo, as JSON, which is YAML."""
    settings = load_settings(root)
    settings["tgrpo"] |= changes
    return json.dumps(settings, sort_keys=True)


def trained(root: Path, questions: Path, changes: Mapping[str, str | int]) -> Figures:
    """The figures of one arm with one seed.

    It is trained and evaluated unless that was done.
    """
    text = parameters(root, changes)
    name = hashlib.sha256((text + fingerprint(root, questions)).encode()).hexdigest()[:16]
    folder = root / ".work" / "evidence" / name
    if not (folder / "figures.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / "params.yaml", text)
        model = train_tgrpo(folder, questions, root / "data" / "frames", root / "models" / "sft")
        with open(folder / "tgrpo.csv", newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        figures: Figures = {
            **evaluated(root, folder, model),
            "condition_rate": mean_of(rows, "condition_rate"),
            "temporal_effect": mean_of(rows, "temporal_effect"),
        }
        write_json(folder / "figures.json", figures)
    return read_json(folder / "figures.json")


def mean_of(rows: Sequence[Mapping[str, str]], column: Literal["condition_rate", "temporal_effect"]) -> float:
    """The mean of a column of plots/tgrpo.csv; 0 without a value.

    It is taken over the steps that have one.
    """
    values = [float(row[column]) for row in rows if row[column]]
    return sum(values) / len(values) if values else 0.0


def evaluated(root: Path, folder: Path, model: Path) -> Accuracies:
    """How many questions of the benchmark a model answers right."""
    run_stage(
        "evaluate", folder, name="model", model=model, benchmark="shapes", data=benchmark(root),
        predictions=folder / "predictions.parquet", metrics=folder / "evaluate.json",
    )  # fmt: skip
    metrics = read_json(folder / "evaluate.json")
    return {
        "ordered": metrics["temporal"],
        "shuffled": metrics["temporal_shuffled"],
        "gap": metrics["temporal_shuffled_gap"],
        "static": metrics["static"],
        "all": metrics["accuracy"],
    }


def benchmark(root: Path) -> Path:
    """The embedded benchmark with the first of the frame budgets."""
    frames = load_settings(root)["report"]["frames"][0]
    return root / "data" / "benchmarks" / f"shapes-{frames}"


def cold_start(root: Path) -> Accuracies:
    """The figures of the SFT model that every arm starts from."""
    text = parameters(root, {})
    name = hashlib.sha256((text + fingerprint(root)).encode()).hexdigest()[:16]
    folder = root / ".work" / "evidence" / f"sft-{name}"
    if not (folder / "figures.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / "params.yaml", text)
        write_json(folder / "figures.json", evaluated(root, folder, root / "models" / "sft"))
    return read_json(folder / "figures.json")


def fingerprint(root: Path, *more: Path) -> str:
    """Hashes of weights, questions, benchmark and code."""
    data = [root / "models" / "sft" / "model.safetensors", benchmark(root) / "samples.parquet", *more]
    files = [*data, *sorted(PROJECT.glob("stages/**/*.py"))]
    return "".join(hashlib.sha256(file.read_bytes()).hexdigest() for file in files)


def first_questions(root: Path, count: int | None) -> Path:
    """The RL set, or a smaller one for a trial."""
    whole = root / "data" / "rl.parquet"
    if count is None:
        return whole
    table = pq.read_table(whole)
    part = root / ".work" / "evidence" / f"rl-{count}.parquet"
    part.parent.mkdir(parents=True, exist_ok=True)
    write_table(part, table.slice(0, count).to_pylist(), table.schema)
    return part


def interval(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and half width of the 95 % interval of Student's t.

    The width of a single value is None.
    """
    mean = sum(values) / len(values)
    if len(values) < 2:
        return mean, None
    deviation = (sum((value - mean) ** 2 for value in values) / (len(values) - 1)) ** 0.5
    return mean, float(stats.t.ppf(0.975, len(values) - 1)) * deviation / len(values) ** 0.5


def markdown(start: Accuracies, results: Mapping[str, Sequence[Figures]]) -> str:
    """The results as a Markdown table.

    It holds percent but for the temporal effect, the mean change of an advantage.
    """
    titles = ("ordered", "– SFT", "shuffled", "gap", "static", "all", "condition rate", "effect of r_t")
    lines = ["| | seeds | " + " | ".join(titles) + " |", "|---" * (len(titles) + 2) + "|"]
    ordered, *others = (f"{100 * value:.1f}" for value in _accuracies(start))
    lines.append("| " + " | ".join(["SFT", "", ordered, "", *others, "", ""]) + " |")
    for arm, runs in results.items():
        ordered, *others = (_cell(values, 100) for values in zip(*map(_accuracies, runs), strict=True))
        gain = _cell([run["ordered"] - start["ordered"] for run in runs], 100)
        condition = _cell([run["condition_rate"] for run in runs], 100)
        effect = _cell([run["temporal_effect"] for run in runs], 1)
        compared = ["", ""] if ARMS[arm]["temporal"] == "off" else [condition, effect]
        lines.append("| " + " | ".join([arm, str(len(runs)), ordered, gain, *others, *compared]) + " |")
    return "\n".join(lines)


def _accuracies(figures: Accuracies) -> list[float]:
    return [figures["ordered"], figures["shuffled"], figures["gap"], figures["static"], figures["all"]]


def _cell(values: Sequence[float], scale: float) -> str:
    mean, half = interval([scale * value for value in values])
    places = 1 if scale == 100 else 3
    return f"{mean:.{places}f}" if half is None else f"{mean:.{places}f} ± {half:.{places}f}"


def main() -> None:
    """Run what is missing and print the table."""
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    parser = argparse.ArgumentParser(description="Ways to train by T-GRPO and GRPO against each other, over seeds.")
    parser.add_argument(
        "--root", type=Path, default=PROJECT, help="a checkout whose filter, sft and benchmark stages have run"
    )
    parser.add_argument(
        "--arms", nargs="+", choices=ARMS, default=list(ARMS), metavar="ARM", help=f"of {', '.join(ARMS)}"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, help="T-GRPO steps instead of tgrpo.max_steps")
    parser.add_argument("--questions", type=int, help="only the first so many questions, for a trial")
    chosen = parser.parse_args()
    root, budget = chosen.root.resolve(), {} if chosen.steps is None else {"max_steps": chosen.steps}
    questions = first_questions(root, chosen.questions)
    start = cold_start(root)
    results: dict[str, list[Figures]] = {arm: [] for arm in chosen.arms}
    for seed in chosen.seeds:  # seed by seed, so that a run that is stopped has compared all arms
        for arm in chosen.arms:
            results[arm].append(trained(root, questions, {**budget, **ARMS[arm], "seed": seed}))
            log.info("seed %d, %s: %s", seed, arm, json.dumps(results[arm][-1]))
    log.info("\n%s\n", markdown(start, results))
    log.info(json.dumps({"sft": start, "arms": results}))


if __name__ == "__main__":
    main()

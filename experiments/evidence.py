"""What each part of T-GRPO contributes: several ways to train × seeds, from the same cold start, data and budget.

    python -m experiments.evidence [--root FOLDER] [--arms NAME…] [--seeds N…] [--steps N] [--questions N]

FOLDER is a checkout in which `dvc repro filter sft benchmark` has run (default: this one); for a planted static shortcut, one where it
ran with `shapes.shortcut` set. Every run trains by `stages.tgrpo` and answers the benchmark by `stages.evaluate`, with the parameters of
FOLDER's params.yaml but for its arm and seed, in FOLDER/.work/evidence; what is there already is not run again, and a run that was stopped
goes on. The table: percent with the mean over seeds and the 95 % interval of Student's t; "– SFT" is the difference to the cold start. The
last line is one JSON object.
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
from typing import Any

import pyarrow.parquet as pq
from ruamel.yaml import YAML
from scipy import stats

from stages.run.files import read_json, write_atomic, write_json, write_table

log = logging.getLogger(__name__)

ARMS: Mapping[str, dict[str, Any]] = {
    "GRPO": {"temporal": "off"},
    "T-GRPO paper": {"temporal": "paper"},
    "T-GRPO strict": {"temporal": "strict"},
    "T-GRPO advantage": {"temporal": "advantage"},
    "GRPO, no std": {"temporal": "off", "scale": "none"},
    "T-GRPO paper, no std": {"temporal": "paper", "scale": "none"},
}
COLUMNS = ("ordered", "shuffled", "gap", "static", "all", "condition_rate", "temporal_effect")
PROJECT = Path(__file__).parents[1]


def run_stage(stage: str, folder: Path, **flags: str | Path) -> None:
    """One stage as a process, with the parameters in `folder`; its log goes to a file there. CalledProcessError when it fails."""
    arguments = [part for name, value in flags.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    with open(folder / f"{stage}.log", "w", encoding="utf-8") as file:
        subprocess.run(
            [sys.executable, "-m", f"stages.{stage}", "--params", str(folder / "params.yaml"), *arguments],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(PROJECT)},
            stderr=file,
            check=True,
        )


def parameters(root: Path, changes: Mapping[str, Any]) -> str:
    """FOLDER's parameters with other values for tgrpo, as JSON, which is YAML."""
    settings = YAML(typ="safe", pure=True).load((root / "params.yaml").read_text(encoding="utf-8"))
    settings["tgrpo"] |= changes
    return json.dumps(settings, sort_keys=True)


def trained(root: Path, questions: Path, changes: Mapping[str, Any]) -> dict[str, float]:
    """Train one arm with one seed and evaluate it, unless that was done; its figures."""
    text = parameters(root, changes)
    name = hashlib.sha256((text + fingerprint(root, questions)).encode()).hexdigest()[:16]
    folder = root / ".work" / "evidence" / name
    if not (folder / "figures.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / "params.yaml", text)
        data = root / "data"
        run_stage(
            "tgrpo", folder, samples=questions, frame_store=data / "frames", model=root / "models" / "sft",
            out=folder / "model", metrics=folder / "tgrpo.json", plot=folder / "tgrpo.csv", rollouts=folder / "rollouts.parquet",
        )  # fmt: skip
        figures = evaluated(root, folder, folder / "model")
        with open(folder / "tgrpo.csv", newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        for column in ("condition_rate", "temporal_effect"):
            values = [float(row[column]) for row in rows if row[column]]
            figures[column] = sum(values) / len(values) if values else 0.0
        write_json(folder / "figures.json", figures)
    return read_json(folder / "figures.json")


def evaluated(root: Path, folder: Path, model: Path) -> dict[str, float]:
    """The shares of correct answers of a model: temporal questions on ordered and on shuffled frames, their gap, static ones, all."""
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
    (frames, *_) = YAML(typ="safe", pure=True).load((root / "params.yaml").read_text(encoding="utf-8"))["report"][
        "frames"
    ]
    return root / "data" / "benchmarks" / f"shapes-{frames}"


def cold_start(root: Path) -> dict[str, float]:
    """The figures of the SFT model that every arm starts from."""
    text = parameters(root, {})
    folder = root / ".work" / "evidence" / f"sft-{hashlib.sha256((text + fingerprint(root)).encode()).hexdigest()[:16]}"
    if not (folder / "figures.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / "params.yaml", text)
        write_json(folder / "figures.json", evaluated(root, folder, root / "models" / "sft"))
    return read_json(folder / "figures.json")


def fingerprint(root: Path, *more: Path) -> str:
    """What all runs of one root share: the weights they start from, their questions, the benchmark and the code."""
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
    """Mean and half width of the 95 % interval of Student's t; None with a single value."""
    mean = sum(values) / len(values)
    if len(values) < 2:
        return mean, None
    deviation = (sum((value - mean) ** 2 for value in values) / (len(values) - 1)) ** 0.5
    return mean, float(stats.t.ppf(0.975, len(values) - 1)) * deviation / len(values) ** 0.5


def table(start: Mapping[str, float], results: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """A Markdown table, percent but for the temporal effect (mean change of an advantage)."""
    titles = ("ordered", "– SFT", "shuffled", "gap", "static", "all", "condition rate", "effect of r_t")
    lines = ["| | seeds | " + " | ".join(titles) + " |", "|---" * (len(titles) + 2) + "|"]
    cells = [f"{100 * start[name]:.1f}" for name in COLUMNS[:5]]
    lines.append("| " + " | ".join(["SFT", "", cells[0], "", *cells[1:], "", ""]) + " |")
    for arm, runs in results.items():
        cells = [_cell([run[name] for run in runs], 100 if name != "temporal_effect" else 1) for name in COLUMNS]
        gain = _cell([run["ordered"] - start["ordered"] for run in runs], 100)
        if ARMS[arm]["temporal"] == "off":
            cells[5:] = ["", ""]  # nothing was compared
        lines.append("| " + " | ".join([arm, str(len(runs)), cells[0], gain, *cells[1:]]) + " |")
    return "\n".join(lines)


def _cell(values: Sequence[float], scale: float) -> str:
    mean, half = interval([scale * value for value in values])
    places = 1 if scale == 100 else 3
    return f"{mean:.{places}f}" if half is None else f"{mean:.{places}f} ± {half:.{places}f}"


def main() -> None:
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
    results: dict[str, list[dict[str, float]]] = {arm: [] for arm in chosen.arms}
    for seed in chosen.seeds:  # seed by seed, so that a run that is stopped has compared all arms
        for arm in chosen.arms:
            results[arm].append(trained(root, questions, budget | ARMS[arm] | {"seed": seed}))
            log.info("seed %d, %s: %s", seed, arm, {name: round(value, 3) for name, value in results[arm][-1].items()})
    log.info("\n%s\n", table(start, results))
    log.info(json.dumps({"sft": start, "arms": results}))


if __name__ == "__main__":
    main()

"""One model on one benchmark: the same questions with their frames in order and in other orders → predictions and metrics.

Works on its own for any model: `python -m stages.evaluate --name X --model FOLDER_OR_HUB_NAME --benchmark shapes …` logs one table.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, model_validator

from stages.benchmarks import get_benchmark
from stages.benchmarks.benchmark import Profile
from stages.benchmarks.engines import OUTPUT_SCHEMA, Engine, Question, ServerEngine, ServerParams, TransformersEngine
from stages.benchmarks.predictions import SCHEMA, prediction_row, summarise
from stages.data.command import command
from stages.data.errors import UserError
from stages.data.files import write_json, write_table
from stages.data.journal import JournaledStore
from stages.data.params import Params
from stages.data.sample import Sample, read_rejects, read_samples
from stages.data.work import work_dir
from stages.model.generate import Sampling
from stages.model.load import Precision, find_model
from stages.video.frame_store import FrameReader
from stages.video.order import Order

log = logging.getLogger(__name__)

MODULES = ("stages/benchmarks", "stages/data", "stages/evaluate.py", "stages/model", "stages/video")


class EvaluateParams(Params):
    engine: Literal["transformers", "openai"] = Field(default="transformers", description="here, or on a server of the OpenAI protocol")
    server: ServerParams | None = Field(default=None, description="where, with engine openai")
    profile: Profile = Field(default="official", description="whose scoring makes the headline; both are always computed")
    orders: tuple[Order, ...] = Field(default=("ordered", "shuffled"), description="orders of frames that videos are shown in")
    max_new_tokens: int = Field(default=1024, ge=1)
    temperature: float = Field(default=0.0, ge=0, description="0: greedy")
    top_p: float = Field(default=1.0, gt=0, le=1)
    seed: int = Field(default=0, ge=0, description="of the shuffled orders and of sampling")
    batch_tokens: int = Field(default=16384, ge=1, description="most tokens in one batch, prompts and answers, on this machine")
    precision: Precision = "fp32"
    threads: int = Field(default=2, ge=1, description="CPU threads of this process")

    @model_validator(mode="after")
    def _complete(self) -> "EvaluateParams":
        if "ordered" not in self.orders or len(set(self.orders)) != len(self.orders):
            raise ValueError("orders must hold 'ordered', and each order once")
        if self.engine == "openai" and self.server is None:
            raise ValueError("engine 'openai' needs a 'server' with its base_url")
        return self


def run(
    params: EvaluateParams,
    name: str,
    model: Path,
    benchmark: str,
    samples: Path,
    frames: Path,
    table: Path,
    predictions: Path,
    metrics: Path,
    quarantine: Path | None = None,
) -> None:
    """Ask `model` (a folder, a hub name or a served model) every question of the benchmark and write what it said and how it scored.

    `quarantine` holds the questions whose media could not be used: they count as missing. Answers go to a journal as they come, so
    a killed run goes on where it was and ends with the same files; what failed is asked again by the next run. UserError when no
    question has frames.
    """
    torch.set_num_threads(params.threads)
    rules = get_benchmark(benchmark)
    reader = FrameReader(frames, table)
    asked = read_samples(samples)
    questions = plan(asked, reader.sample_ids, params.orders)
    if not questions:
        raise UserError(f"{table}: none of the {len(asked)} questions has frames; run the benchmark stage and read its quarantine table")
    total = len(asked) + (len(read_rejects(quarantine)) if quarantine else 0)
    if missing := total - len({question.sample.sample_id for question in questions}):
        log.warning("%s: %d of %d questions have no usable media and are counted as missing", benchmark, missing, total)
    engine, inputs = _engine(params, model, reader)
    work = work_dir(f"evaluate/{name}-{benchmark}", params, [*inputs, samples, table], MODULES)
    outputs = collect(engine, questions, work)
    rows = [prediction_row(question.sample, outputs[question.key], rules) for question in questions]
    write_table(predictions, rows, SCHEMA)
    summary = summarise(rows, total, rules, params.profile)
    write_json(metrics, summary)
    log_table(name, benchmark, params.profile, summary)


def plan(samples: Sequence[Sample], with_frames: Sequence[str], orders: Sequence[Order]) -> list[Question]:
    """Every question that has frames, in sample order; an image has one order only."""
    ready = set(with_frames)
    return [
        Question(sample, order)
        for sample in samples
        if sample.sample_id in ready
        for order in (orders if sample.data_type == "video" else ("ordered",))
    ]


def collect(engine: Engine, questions: Sequence[Question], work: Path) -> dict[str, dict[str, Any]]:
    """The outputs by question key: those of the journal in `work`, and those still to be asked, which go there as they come.

    An `error` is not journaled, so that the next run tries it again.
    """
    failed: dict[str, dict[str, Any]] = {}
    with JournaledStore(work / "outputs", work / "outputs.jsonl", OUTPUT_SCHEMA) as journal:

        def keep(outputs: Sequence[dict[str, Any]]) -> None:
            journal.add([output for output in outputs if output["status"] != "error"])
            failed.update({output["key"]: output for output in outputs if output["status"] == "error"})

        engine.answer(questions, journal, keep)
        return {question.key: failed.get(question.key) or journal.read(question.key) for question in questions}


def log_table(name: str, benchmark: str, profile: Profile, metrics: dict[str, Any]) -> None:
    """One table for a person: a row per slice, its size, and per order the score with its interval."""
    cells: dict[tuple[str, str], dict[str, str]] = {}
    sizes: dict[tuple[str, str], int] = {}
    for entry in metrics.get("scores", []):
        if entry["profile"] == profile:
            place, (score, low, high) = (entry["by"], entry["slice"]), (100 * entry[field] for field in ("value", "low", "high"))
            cells.setdefault(place, {})[entry["order"]] = f"{score:5.1f} [{low:4.1f}, {high:5.1f}]"
            sizes.setdefault(place, entry["n"])
    orders = list(dict.fromkeys(order for row in cells.values() for order in row))
    lines = [f"{name} on {benchmark}, {profile} profile: {metrics['n']} scored, {metrics['n_missing']} missing"]
    lines.append(f"{'':<28}{'n':>6}  " + "".join(f"{order:<22}" for order in orders))
    for (by, value), row in cells.items():
        indented = value if by == "all" else f"  {value}"
        lines.append(f"{indented:<28}{sizes[by, value]:>6}  " + "".join(f"{row.get(order, '–'):<22}" for order in orders))
    log.info("\n".join(line.rstrip() for line in lines))


def _engine(params: EvaluateParams, model: Path, reader: FrameReader) -> tuple[Engine, list[Path]]:
    """The engine, and the files that decide its answers besides the questions."""
    sampling = Sampling(params.max_new_tokens, params.temperature, params.top_p)
    if params.engine == "openai" and params.server is not None:
        server = params.server.model_copy(update={"model": params.server.model or str(model)})
        return ServerEngine(server, reader, sampling, params.seed), []
    folder = find_model(str(model), None)
    return TransformersEngine(folder, reader, sampling, params.seed, params.batch_tokens, params.precision), [folder]


if __name__ == "__main__":
    command(run)

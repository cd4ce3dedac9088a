"""One model on one benchmark: the same questions with their frames in order and in other orders → predictions and metrics.

Works on its own for any model and logs one table: `python -m stages.evaluate --benchmark shapes --data FOLDER --model FOLDER_OR_HUB_NAME`,
or with `--server http://127.0.0.1:8000/v1` for a model that is served there.
"""

import logging
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, model_validator

from stages.data.journal import JournaledStore
from stages.data.sample import Reject, Sample, read_rejects, read_samples
from stages.evaluation.benchmarks import get_benchmark
from stages.evaluation.definition import Benchmark, Profile
from stages.evaluation.engines import OUTPUT_SCHEMA, Engine, ServerEngine, ServerParams, Showing, TransformersEngine
from stages.evaluation.predictions import SCHEMA, Row, compare, prediction_row, read_predictions, slices, summarise
from stages.evaluation.published import ROWS
from stages.generation.generate import Sampling
from stages.model.load import Precision, find_model
from stages.run.command import command
from stages.run.errors import UserError
from stages.run.files import write_json, write_table
from stages.run.params import Params
from stages.run.work import resume_note, work_dir
from stages.video.frame_store import FrameReader
from stages.video.order import Order

log = logging.getLogger(__name__)

ALONE = Path("evaluations")  # what is evaluated outside the graph


class EvaluateParams(Params):
    engine: Literal["transformers", "openai"] = Field(
        default="transformers", description="here, or on a server of the OpenAI protocol"
    )
    server: ServerParams | None = Field(default=None, description="where, with engine openai")
    profile: Profile = Field(
        default="official", description="whose scoring makes the headline; both are always computed"
    )
    orders: tuple[Order, ...] = Field(
        default=("ordered", "shuffled"), description="orders of frames that videos are shown in"
    )
    max_new_tokens: int = Field(default=1024, ge=1)
    temperature: float = Field(default=0.0, ge=0, description="0: greedy")
    top_p: float = Field(default=1.0, gt=0, le=1)
    max_failed: float = Field(
        default=0.02, ge=0, le=1, description="stop when a larger share of the requests to a server fails"
    )
    seed: int = Field(default=0, ge=0, description="of the shuffled orders and of sampling")
    batch_tokens: int = Field(
        default=16384, ge=1, description="most tokens in one batch, prompts and answers, on this machine"
    )
    precision: Precision = "fp32"
    threads: int = Field(default=2, ge=1, description="CPU threads of this process")

    @model_validator(mode="after")
    def _complete(self) -> "EvaluateParams":
        if "ordered" not in self.orders or len(set(self.orders)) != len(self.orders):
            raise ValueError("orders must hold 'ordered', and each order once")
        if self.engine == "openai" and self.server is None:
            raise ValueError("engine 'openai' needs a 'server' with its base_url")
        return self

    @property
    def identity(self) -> "EvaluateParams":
        """What decides an answer, the rest at its default: orders are in each answer's key, scoring comes after it."""
        changes: dict[str, Any] = {"orders": ("ordered",), "profile": "official", "max_failed": 0.0}
        if self.server:
            server = {name: getattr(self.server, name) for name in ("base_url", "model", "payload", "prompt")}
            changes["server"] = ServerParams(**server)
        return self.model_copy(update=changes)

    def asking(self, model: str, base_url: str | None) -> "EvaluateParams":
        """These parameters with everything that says who is asked: `model` where they name no served one, a server where one is given."""
        if base_url is None and self.server is None:
            return self
        server = self.server or ServerParams(base_url=base_url or "")
        changes = {"model": server.model or model, "base_url": base_url or server.base_url}
        return self.model_copy(
            update={"engine": "openai" if base_url else self.engine, "server": server.model_copy(update=changes)}
        )


def run(
    params: EvaluateParams,
    model: str,
    benchmark: str,
    data: Path,
    name: str | None = None,
    server: str | None = None,
    predictions: Path | None = None,
    metrics: Path | None = None,
    against: Path | None = None,
) -> None:
    """Ask `model` (a folder, a hub name or a served model) every question of the benchmark and write what it said and how it scored.

    `data` is the folder that the benchmark stage wrote; `server` the address of an OpenAI-compatible server, instead of the one of the
    parameters. Without paths the two files go to `evaluations/`, under `name` (default: the end of the model's) and the folder's name.
    Answers go to a journal as they come, so a killed run goes on where it was and ends with the same files; what failed is asked again
    by the next run. `against`, another model's predictions, adds a paired comparison to the log. UserError when no question has frames.
    """
    rivals = read_predictions(against) if against else []
    torch.set_num_threads(params.threads)
    params = params.asking(model, server)
    name = name or Path(model).name
    rules, samples, table = get_benchmark(benchmark), data / "samples.parquet", data / "frames.parquet"
    if not samples.exists():
        raise UserError(
            f"{data}: no prepared benchmark; run `python -m stages.benchmark --name {benchmark} --root … --out {data}` first"
        )
    reader = FrameReader(data / "frames", table)
    asked, missing = read_samples(samples), read_rejects(data / "quarantine.parquet")
    if others := sorted({sample.source for sample in asked if not benchmark.startswith(sample.source)}):
        raise UserError(
            f"{data} holds questions of {', '.join(others)}, not of {benchmark}, whose rules would score them wrong"
        )
    questions = plan(asked, reader.sample_ids, params.orders)
    if not questions:
        raise UserError(
            f"{table}: none of the {len(asked)} questions has frames; run the benchmark stage and read its quarantine table"
        )
    engine, inputs = _engine(params, model, reader)
    work = work_dir(f"evaluate/{name}-{data.name}", params.identity, [*inputs, samples, table])
    outputs = collect(engine, questions, work, params.max_failed)
    rows = [prediction_row(question.sample, outputs[question.key], rules) for question in questions]
    write_table(predictions or ALONE / f"{name}-{data.name}.parquet", rows, SCHEMA)
    summary = summarise(rows, len(asked) + len(missing), rules, params.profile)
    write_json(metrics or ALONE / f"{name}-{data.name}.json", summary | resume_note(work))
    log_table(name, benchmark, params.profile, summary)
    if told := published(benchmark):
        log.info("as published (arXiv 2503.21776, video-r1 profile): %s", told)
    if against:
        log.info("against %s: %s", against, comparison(rows, rivals, rules, params.profile))
    if missing:
        log.warning("in quarantine, counted as missing: %s", named(missing))


def plan(samples: Sequence[Sample], with_frames: Sequence[str], orders: Sequence[Order]) -> list[Showing]:
    """Every question that has frames, in sample order; an image has one order only."""
    ready = set(with_frames)
    return [
        Showing(sample, order)
        for sample in samples
        if sample.sample_id in ready
        for order in (orders if sample.data_type == "video" else ("ordered",))
    ]


def collect(engine: Engine, questions: Sequence[Showing], work: Path, max_failed: float) -> dict[str, dict[str, Any]]:
    """The outputs by question key: those of the journal in `work`, and those still to be asked, which go there as they come.

    An `error` is not journaled, so that the next run tries it again. UserError when their share of the questions exceeds `max_failed`.
    """
    failed: dict[str, dict[str, Any]] = {}
    with JournaledStore(work / "outputs", work / "outputs.jsonl", OUTPUT_SCHEMA) as journal:

        def keep(outputs: Sequence[dict[str, Any]]) -> None:
            journal.add([output for output in outputs if output["status"] != "error"])
            failed.update({output["key"]: output for output in outputs if output["status"] == "error"})
            if len(failed) > max_failed * len(questions):
                raise UserError(
                    f"{told_failures(failed.values())}; more than evaluate.max_failed = {max_failed:g} of {len(questions)}"
                )

        engine.answer(questions, journal, keep)
        if failed:
            log.warning("%s; counted as missing", told_failures(failed.values()))
        return {question.key: failed.get(question.key) or journal.read(question.key) for question in questions}


def told_failures(failed: Collection[Row]) -> str:
    """How many requests failed, the most frequent reason, and what to do about it."""
    [(detail, _)] = Counter(output["detail"] for output in failed).most_common(1)
    return f"{len(failed)} requests failed, most often with: {detail}; run the same command again to ask them again"


def log_table(name: str, benchmark: str, profile: Profile, metrics: dict[str, Any]) -> None:
    """One table for a person: a row per slice, its size, the score in order, and per other order the score and the gap to it."""
    scores = {
        (entry["by"], entry["slice"], entry["order"]): entry
        for entry in metrics.get("scores", [])
        if entry["profile"] == profile
    }
    gaps = {
        (entry["by"], entry["slice"], entry["order"]): entry
        for entry in metrics.get("gaps", [])
        if entry["profile"] == profile
    }
    others = [order for order in dict.fromkeys(order for _, _, order in scores) if order != "ordered"]
    rows = [["", "n", "ordered", *(title for order in others for title in (order, "gap"))]]
    for by, place, order in scores:
        if order == "ordered":
            compared = [
                cell for other in others for cell in (scores.get((by, place, other)), gaps.get((by, place, other)))
            ]
            indented = place if by == "all" else f"  {place}"
            rows.append(
                [indented, str(scores[by, place, order]["n"]), *map(_cell, [scores[by, place, order], *compared])]
            )
    rows += [["  " + figure, str(entry["n"]), _cell(entry)] for figure, entry in metrics.get("figures", {}).items()]
    widths = [max(len(row[column]) for row in rows if column < len(row)) for column in range(len(rows[0]))]
    lines = [
        f"{name} on {benchmark}, {profile} profile: {metrics['n']} scored, {metrics['n_missing']} missing, "
        f"{metrics['n_not_scored']} only a judge could score; {metrics.get('no_answer', 0):.1%} without an answer, "
        f"{metrics.get('truncated', 0):.1%} truncated; {metrics.get('shown', 'no frames')}"
    ]
    lines += ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip() for row in rows]
    log.info("\n".join(lines))


def comparison(rows: Sequence[Row], rivals: Sequence[Row], rules: Benchmark, profile: Profile) -> str:
    """One line on two models' answers to the same questions: the difference in points with its interval, and McNemar's p."""
    found = compare(_of_mean(rows, rules), _of_mean(rivals, rules), rules, profile)
    if found is None:
        return "no question in common"
    difference, p = found
    return (
        f"{_cell(asdict(difference)).strip()} points on {difference.n} common questions in order, McNemar's p = {p:.2g}"
    )


def published(benchmark: str) -> str:
    """The paper's figures for a benchmark, "" where it has none."""
    scores = [(row, score) for row in ROWS if (score := row.score(benchmark)) is not None]
    return ", ".join(
        f"{row.model}{f' at {row.frames} frames' if row.frames else ''} {score:.1f}" for row, score in scores
    )


def named(rejects: Sequence[Reject], most: int = 10) -> str:
    """The first so many of the questions that could not be asked, each with its reason."""
    told = [f"{reject.sample_id} ({reject.reason})" for reject in rejects[:most]]
    return ", ".join(told) + (f" and {len(rejects) - most} more" if len(rejects) > most else "")


def _of_mean(rows: Sequence[Row], rules: Benchmark) -> list[Row]:
    """What the headline number is the mean of."""
    return [row for row in rows if slices(rules)["all"](row)]


def _cell(entry: dict[str, Any] | None) -> str:
    if entry is None:
        return "–"
    value, low, high = (100 * entry[field] for field in ("value", "low", "high"))
    return f"{value:5.1f} [{low:5.1f}, {high:5.1f}]"


def _engine(params: EvaluateParams, model: str, reader: FrameReader) -> tuple[Engine, list[Path]]:
    """The engine, and the files that decide its answers besides the questions."""
    sampling = Sampling(params.max_new_tokens, params.temperature, params.top_p)
    if params.engine == "openai" and params.server is not None:
        return ServerEngine(params.server, reader, sampling, params.seed), []
    folder = find_model(model, None)
    return TransformersEngine(folder, reader, sampling, params.seed, params.batch_tokens, params.precision), [folder]


if __name__ == "__main__":
    command(run, item="benchmark")

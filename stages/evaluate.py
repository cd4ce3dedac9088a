"""One model on one benchmark → predictions and metrics.

Videos are shown with their frames in order, in other orders, and without any frame (`blind`). The stage works on its
own for any model and logs one table: `python -m stages.evaluate --benchmark vsi_bench --model FOLDER_OR_HUB_NAME`, or
with `--server http://127.0.0.1:8000/v1` for a model that is served there.
"""

import logging
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal, cast

import torch
from pydantic import Field, model_validator

from stages.chat.payload import choose_payload, server_kind
from stages.data.journal import JournaledStore
from stages.data.sample import Sample
from stages.evaluation.benchmarks import get_benchmark
from stages.evaluation.conditions import Conditions, differences, read_conditions, with_conditions
from stages.evaluation.definition import Profile
from stages.evaluation.engines import Engine, ServerEngine, ServerParams, Showing, TransformersEngine
from stages.evaluation.judging.judge import judge_rows
from stages.evaluation.judging.parameters import JudgeParams
from stages.evaluation.judging.record import judged_by, with_judge
from stages.evaluation.metrics import shown, summarise
from stages.evaluation.predictions import OUTPUT_SCHEMA, PREDICTION_SCHEMA, Output, prediction_row, read_predictions
from stages.evaluation.prepared import Wanted, prepare, read_prepared
from stages.evaluation.selfcheck import selfcheck_text
from stages.evaluation.text_summary import (
    benchmarks_text,
    comparison_text,
    published_text,
    rejects_text,
    summary_text,
)
from stages.generation.sampling import Sampling
from stages.model.load import Precision, find_model, resolve
from stages.run.command import command
from stages.run.errors import UserError
from stages.run.files import write_json, write_table
from stages.run.params import LARGEST_SEED, Params
from stages.run.work import WORK, resume_note, work_dir
from stages.video.frame_store import FrameReader
from stages.video.order import Order

log = logging.getLogger(__name__)

OUTSIDE_THE_GRAPH = Path("evaluations")  # where the files go when no path is given


class EvaluateParams(Params):
    """Who answers, what is shown, and whose scoring makes the headline."""

    engine: Literal["transformers", "openai"] = Field(
        default="transformers", description="transformers: in this process; openai: on a server of the OpenAI protocol"
    )
    server: ServerParams | None = Field(default=None, description="the server to ask with engine openai")
    judge: JudgeParams | None = Field(
        default=None,
        description="a served model that scores what no rule can, in the official profile; null: not scored",
    )
    profile: Profile = Field(
        default="official", description="whose scoring makes the headline numbers; both are always computed"
    )
    orders: tuple[Order, ...] = Field(
        default=("ordered", "shuffled"),
        description="orders of frames that videos are shown in; blind: the question without its frames, images too",
    )
    max_new_tokens: int = Field(default=1024, ge=1, description="most tokens of one answer; a longer one is cut off")
    temperature: float = Field(default=0.0, ge=0, description="of sampling; 0: the likeliest token each time")
    top_p: float = Field(
        default=1.0, gt=0, le=1, description="share of probability that the likeliest tokens to sample from hold"
    )
    max_failed: float = Field(
        default=0.02, ge=0, le=1, description="stop when a larger share of the requests to a server fails"
    )
    seed: int = Field(default=0, ge=0, le=LARGEST_SEED, description="of the shuffled orders and of sampling")
    max_prompt_tokens: int | None = Field(
        default=None,
        ge=1,
        description="longest prompt in this process; null: the model's limit; longer ones count as missing",
    )
    batch_tokens: int = Field(
        default=16384,
        ge=1,
        description="most tokens that this process decodes at once, prompts and full answers together",
    )
    precision: Precision = Field(default="fp32", description="number format of the weights in this process")
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
        """The parameters that decide an answer, the others at their defaults.

        Orders are left out because they are part of each answer's key, scoring and judge because they come later.
        """
        later = {"orders": ("ordered",), "profile": "official", "max_failed": 0.0, "judge": None}
        same = self.model_copy(update=later)
        if self.server is None:
            return same
        server = {
            name: getattr(self.server, name)
            for name in ("base_url", "model", "payload", "frame_times", "extra_body", "prompt")
        }
        return same.model_copy(update={"server": ServerParams(**server)})

    def asking(self, model: str, base_url: str | None) -> "EvaluateParams":
        """These parameters with the server and its model filled in.

        `base_url` replaces the parameters' server. `model` is the served model unless they name one.
        """
        if base_url is None and self.server is None:
            return self
        server = self.server or ServerParams(base_url=base_url or "")
        changes = {"model": server.model or model, "base_url": base_url or server.base_url}
        return self.model_copy(
            update={"engine": "openai" if base_url else self.engine, "server": server.model_copy(update=changes)}
        )


def run(
    params: EvaluateParams,
    model: str = "",
    benchmark: str = "",
    data: Path | None = None,
    name: str | None = None,
    server: str | None = None,
    predictions: Path | None = None,
    metrics: Path | None = None,
    headline: Path | None = None,
    against: Path | None = None,
    root: Path | None = None,
    frames: int | None = None,
    limit: int | None = None,
    seed: int = 0,
    params_file: Path = Path("params.yaml"),
    list: bool = False,
    selfcheck: bool = False,
) -> None:
    """Ask `model` every question of the benchmark, and score its answers.

    `model` is a folder, a hub name or the name of a served model. `data` is the folder that the benchmark stage
    wrote. Without it, that stage runs first: it reads `root` (default: `data/<benchmark>`, or else the benchmark's
    datasets on the hub), takes at most `frames` per clip (default: 16), and with `limit` a sample of about so many
    questions, drawn with `seed`. `server` is the address of an OpenAI-compatible server; it replaces the one of the
    parameters. Without paths the two files go to `evaluations/`, named after `name` (default: the end of the model's
    name) and the folder. `headline` takes the few figures that DVC compares. `against`, another model's predictions,
    adds a paired comparison to the log. Answers go to a journal as they come, so a killed run goes on where it was
    and ends with the same files. The next run asks failed requests again. UserError when no question has frames.

    `list` prints all benchmarks instead. `selfcheck` scores recorded outputs instead, and says whether the scores are
    the official ones.
    """
    if list or selfcheck:
        log.info(benchmarks_text() if list else selfcheck_text())
        return
    if not (model and benchmark):
        raise UserError("--model and --benchmark are needed; --list prints the benchmarks")
    others = read_predictions(against) if against else []
    torch.set_num_threads(params.threads)
    params = params.asking(model, server)
    name, definition = name or Path(model).name, get_benchmark(benchmark)
    data = data or prepare(Wanted(benchmark, root, frames or 16, limit, seed), params_file, OUTSIDE_THE_GRAPH / "data")
    prepared = read_prepared(benchmark, data)
    showings = plan(prepared.samples, prepared.reader.sample_ids, params.orders)
    if not showings:
        raise UserError(
            f"{data}: none of the {len(prepared.samples)} questions has frames; "
            "read its quarantine.parquet and run the benchmark stage again"
        )
    params = with_payload(params)
    engine, model_files = engine_of(params, model, prepared.reader)
    work = work_dir(f"evaluate/{name}-{data.name}", params.identity, [*model_files, *prepared.files])
    outputs = collect(engine, showings, work, params.max_failed)
    rows = [prediction_row(showing.sample, outputs[showing.key], definition) for showing in showings]
    place = OUTSIDE_THE_GRAPH / f"{name}-{data.name}"
    judge = None
    if params.judge:
        home = WORK / "evaluate" / "judge" / place.name
        rows, judge = judge_rows(params.judge, rows, prepared.samples, definition, params.seed, home)
    summary = summarise(rows, prepared.n_questions, definition, params.profile)
    asked: Conditions = {**_conditions(params, model_files), "shown": shown(rows), **judged_by(judge)}
    table = predictions or place.with_name(f"{place.name}.parquet")
    write_table(table, rows, with_judge(with_conditions(PREDICTION_SCHEMA, asked), judge))
    figures = (
        summary.metrics() | ({"judge": judge} if judge else {}) | {"asked": asked} | prepared.note | resume_note(work)
    )
    write_json(metrics or place.with_name(f"{place.name}.json"), figures)
    if headline:
        write_json(headline, summary.few())
    # Of many lines: no arguments, which would be escaped.
    log.info(summary_text(name, benchmark, params.profile, summary, str(prepared.drawn or ""), judge))
    if published := published_text(benchmark):
        log.info("as published (arXiv 2503.21776, video-r1 profile): %s", published)
    if against:
        log.info("against %s: %s", against, comparison_text(rows, others, definition, params.profile))
        if differs := differences({name: asked, against.stem: read_conditions(against)}):
            log.warning("the two were asked in different ways, which may explain the difference: %s", differs)
    if prepared.quarantine:
        log.warning("in quarantine, counted as missing: %s", rejects_text(prepared.quarantine))


def plan(samples: Sequence[Sample], with_frames: Collection[str], orders: Sequence[Order]) -> list[Showing]:
    """Every question with frames in every order.

    An image has one order, and `blind`.
    """
    ready = set(with_frames)
    return [
        Showing(sample, order)
        for sample in samples
        if sample.sample_id in ready
        for order in orders
        if sample.data_type == "video" or order in ("ordered", "blind")
    ]


def collect(engine: Engine, showings: Sequence[Showing], work: Path, max_failed: float) -> dict[str, Output]:
    """The outputs by key, from the journal or else from the engine.

    New outputs go to the journal in `work` as they come, without failed ones, so that the next run asks those again.
    UserError when the failed ones are a larger share of the showings than `max_failed`.
    """
    failed: dict[str, Output] = {}
    with JournaledStore(work / "outputs", work / "outputs.jsonl", OUTPUT_SCHEMA) as journal:

        def keep(outputs: Sequence[Output]) -> None:
            journal.add([output for output in outputs if output["status"] != "error"])
            failed.update({output["key"]: output for output in outputs if output["status"] == "error"})
            if len(failed) > max_failed * len(showings):
                limit = f"more than evaluate.max_failed = {max_failed:g} of {len(showings)}"
                raise UserError(f"{_failures(failed.values())}; {limit}")

        engine.answer(showings, journal, keep)
        if failed:
            log.warning("%s; counted as missing", _failures(failed.values()))
        answered = [showing.key for showing in showings if showing.key not in failed]
        return failed | {key: cast(Output, journal.read(key)) for key in answered}


def _failures(failed: Collection[Output]) -> str:
    """How many requests failed, why, and what to do about it."""
    [(detail, _)] = Counter(output["detail"] for output in failed).most_common(1)
    return f"{len(failed)} requests failed, most often with: {detail}; run the same command again to ask them again"


def with_payload(params: EvaluateParams) -> EvaluateParams:
    """The parameters with the server's payload in place of `auto`."""
    if params.engine != "openai" or params.server is None:
        return params
    payload = choose_payload(params.server, WORK / "evaluate" / "servers.json")
    return params.model_copy(update={"server": params.server.model_copy(update={"payload": payload})})


def _conditions(params: EvaluateParams, model_files: Sequence[Path]) -> Conditions:
    """How the model is asked."""
    sampling = params.model_dump(include={"max_new_tokens", "temperature", "top_p"})
    if params.engine != "openai" or params.server is None:
        return {
            "by": "this process",
            "prompt": resolve(model_files[0]).prompt,
            "precision": params.precision,
            **sampling,
        }
    server = params.server
    return {
        "by": f"a server: {server_kind(server, WORK / 'evaluate' / 'servers.json') or 'unknown'}",
        "frame_rate": "each clip's own" if server.payload == "video" else "not sent",
        **server.model_dump(include={"prompt", "payload", "frame_times", "extra_body"}),
        **sampling,
    }


def engine_of(params: EvaluateParams, model: str, reader: FrameReader) -> tuple[Engine, list[Path]]:
    """The engine, and the files of the model that it runs."""
    sampling = Sampling(params.max_new_tokens, params.temperature, params.top_p)
    if params.engine == "openai" and params.server is not None:
        return ServerEngine(params.server, reader, sampling, params.seed), []
    folder = find_model(model, None)
    return TransformersEngine(
        folder, reader, sampling, params.seed, params.batch_tokens, params.precision, params.max_prompt_tokens
    ), [folder]


if __name__ == "__main__":
    command(run, item="benchmark")

"""One model on one benchmark → predictions and metrics.

Videos are shown with their frames in order, in other orders, and without any frame (`blind`). The stage works on its
own for any model and logs one table: `python -m stages.evaluate --benchmark vsi_bench --model FOLDER_OR_HUB_NAME`, or
with `--server http://127.0.0.1:8000/v1` for a model that is served there.
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from pydantic import Field, model_validator

from stages.asking.collect import collect, conditions_of, engine_of, plan, with_payload
from stages.asking.exchange import changed_answers
from stages.asking.params import AskingParams
from stages.data.conditions import Conditions, differences, read_conditions, with_conditions
from stages.data.order import Order
from stages.evaluation.benchmarks import get_benchmark
from stages.evaluation.definition import Benchmark, Profile
from stages.evaluation.faithfulness import (
    Faithfulness,
    faithfulness,
    faithfulness_text,
    thoughts_to_exchange,
    with_faithfulness,
)
from stages.evaluation.judgements import judged_by, with_judge
from stages.evaluation.metrics import shown, summarise
from stages.evaluation.predictions import PREDICTION_SCHEMA, PredictionRow, prediction_row, read_predictions
from stages.evaluation.prepared import Prepared, Wanted, prepare, read_prepared
from stages.evaluation.selfcheck import selfcheck_text
from stages.evaluation.text_summary import (
    benchmarks_text,
    comparison_text,
    published_text,
    rejects_text,
    summary_text,
)
from stages.judging.judge import judge_rows
from stages.judging.parameters import JudgeParams
from stages.run.command import command
from stages.run.errors import UserError
from stages.run.files import write_json, write_table
from stages.run.work import WORK, resume_note, work_dir

log = logging.getLogger(__name__)

OUTSIDE_THE_GRAPH = Path("evaluations")  # where the files go when no path is given


class EvaluateParams(AskingParams):
    """Who answers, what is shown, and whose scoring makes the headline."""

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

    faithfulness: int = Field(
        default=0,
        ge=0,
        description="answers whose thought is exchanged for that on shuffled frames, to see whether they follow from "
        "it; in this process; 0: not measured",
    )

    @model_validator(mode="after")
    def _thoughts_to_exchange(self) -> "EvaluateParams":
        if self.faithfulness and (self.engine != "transformers" or "shuffled" not in self.orders):
            raise ValueError(
                "faithfulness needs engine 'transformers' and the order 'shuffled'; set both, or set faithfulness to 0"
            )
        return self

    @model_validator(mode="after")
    def _in_order_too(self) -> "EvaluateParams":
        if "ordered" not in self.orders or len(set(self.orders)) != len(self.orders):
            raise ValueError("orders must hold 'ordered', and each order once")
        return self


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
    name) and the folder. `headline` takes the few figures that DVC compares, and the judge's name. `against`, another
    model's predictions, adds a paired comparison to the log. Answers go to a journal as they come, so a killed run goes
    on where it was and ends with the same files. The next run asks failed requests again. UserError when no question
    has frames.

    `list` prints all benchmarks instead. `selfcheck` scores recorded outputs instead, and says whether the scores are
    the official ones.
    """
    if list or selfcheck:
        log.info(benchmarks_text() if list else selfcheck_text())
        return
    if not (model and benchmark):
        raise UserError("--model and --benchmark are needed; --list prints the benchmarks")
    for flag, value in (("--root", root), ("--limit", limit), ("--seed", seed)):
        if data and value:
            raise UserError(f"{flag} cannot change {data}, which is prepared already; leave out {flag} or --data")
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
    params = with_payload(params, "evaluate")
    engine, model_files = engine_of(params, model, prepared.reader)
    work = work_dir(f"evaluate/{name}-{data.name}", params.identity, [*model_files, *prepared.files])
    outputs = collect(engine, showings, work, params.max_failed, "evaluate")
    rows = [prediction_row(showing.sample, outputs[showing.key], definition) for showing in showings]
    place = OUTSIDE_THE_GRAPH / f"{name}-{data.name}"
    judge = None
    if params.judge:
        home = WORK / "evaluate" / "judge" / place.name
        rows, judge = judge_rows(params.judge, rows, prepared.samples, definition, params.seed, home)
    faithful = _faithfulness(params, rows, prepared, definition, model_files) if params.faithfulness else {}
    summary = summarise(rows, prepared.n_questions, definition, params.profile)
    judged = {"judge": judge} if judge else {}
    asked: Conditions = {**conditions_of(params, model_files, "evaluate"), "shown": shown(rows), **judged_by(judge)}
    table = predictions or place.with_name(f"{place.name}.parquet")
    schema = with_faithfulness(with_conditions(PREDICTION_SCHEMA, asked), faithful)
    write_table(table, rows, with_judge(schema, judge))
    followed = {"faithfulness": {name: asdict(figure) for name, figure in faithful.items()}} if faithful else {}
    figures = summary.metrics() | judged | followed | {"asked": asked} | prepared.note | resume_note(work)
    write_json(metrics or place.with_name(f"{place.name}.json"), figures)
    if headline:
        write_json(headline, summary.few() | judged_by(judge))
    # The text is the format, not an argument: the log would escape the line breaks of an argument.
    log.info(summary_text(name, benchmark, params.profile, summary, str(prepared.drawn or ""), judge))
    if faithful:
        log.info("faithfulness: %s", faithfulness_text(faithful))
    if published := published_text(benchmark):
        log.info("as published (arXiv 2503.21776, video-r1 profile): %s", published)
    if against:
        log.info("against %s: %s", against, comparison_text(rows, others, definition, params.profile))
        if differs := differences({name: asked, against.stem: read_conditions(against)}):
            log.warning("the two were asked in different ways, which may explain the difference: %s", differs)
    if prepared.quarantine:
        log.warning("in quarantine, counted as missing: %s", rejects_text(prepared.quarantine))


def _faithfulness(
    params: EvaluateParams,
    rows: Sequence[PredictionRow],
    prepared: Prepared,
    benchmark: Benchmark,
    model_files: Sequence[Path],
) -> Faithfulness:
    """The figures, with thoughts exchanged in the model."""
    samples = {sample.sample_id: sample for sample in prepared.samples}
    chosen = thoughts_to_exchange(rows, benchmark, params.faithfulness, params.seed)
    outputs = [(samples[each.sample_id], each.own, each.other) for each in chosen]
    [folder] = model_files
    changed = changed_answers(folder, prepared.reader, outputs, params.max_new_tokens, params.precision)
    return faithfulness(rows, benchmark, changed)


if __name__ == "__main__":
    command(run, item="benchmark")

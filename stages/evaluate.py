"""One model on one benchmark → predictions and metrics.

Videos are shown with their frames in order, in other orders, and without any frame (`blind`). The stage works on its
own for any model and logs one table: `python -m stages.evaluate --benchmark vsi_bench --model FOLDER_OR_HUB_NAME`, or
with `--server http://127.0.0.1:8000/v1` for a model that is served there.
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from pydantic import Field, model_validator

from stages.asking.collect import check_model, collect, conditions_of, engine_of, fitted, plan
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
from stages.evaluation.judgements import JudgeRecord, judged_by, with_judge
from stages.evaluation.metrics import Summary, shown, summarise
from stages.evaluation.predictions import PREDICTION_SCHEMA, PredictionRow, prediction_row, read_predictions
from stages.evaluation.prepared import Prepared, Wanted, questions
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


@dataclass(frozen=True)
class Candidate:
    """The model that is asked; the fields are flags, see `run`."""

    model: str = ""
    name: str | None = None
    server: str | None = None

    @property
    def label(self) -> str:
        """Its name in the results."""
        return self.name or Path(self.model).name


@dataclass(frozen=True)
class Tables:
    """Files that are written, and that of another model; see `run`."""

    predictions: Path | None = None
    metrics: Path | None = None
    headline: Path | None = None
    against: Path | None = None


@dataclass(frozen=True)
class Evaluated:
    """The scored answers of one model, and how it was asked."""

    rows: list[PredictionRow]
    summary: Summary
    asked: Conditions
    judge: JudgeRecord | None
    faithful: Faithfulness
    resumed: dict[str, list[str]]


def run(
    params: EvaluateParams,
    candidate: Candidate,
    wanted: Wanted,
    tables: Tables = Tables(),
    params_file: Path = Path("params.yaml"),
    list: bool = False,
    selfcheck: bool = False,
) -> None:
    """Ask a model every question of a benchmark, and score its answers.

    --model is a folder, a hub name or the name of a served model. --data is the folder that the benchmark stage
    wrote; --frames must then be the number of frames that it was prepared with. Without --data, that stage runs first:
    it reads --root (default: `data/<benchmark>`, or else the benchmark's datasets on the hub), takes at most --frames
    per clip (default: 16), and with --limit a sample of about so many questions, drawn with --seed. --server is the
    address of an OpenAI-compatible server; it replaces the one of the parameters. Without paths the two files go to
    `evaluations/`, named after --name (default: the end of the model's name) and the folder. --headline takes the few
    figures that DVC compares, and the judge's name. --against, another model's predictions, adds a paired comparison to
    the log. Answers go to a journal as they come, so a killed run goes on where it was and ends with the same files.
    The next run asks failed requests again. UserError when no question has frames.

    --list prints all benchmarks instead. --selfcheck scores recorded outputs instead, and says whether the scores are
    the official ones.
    """
    if list or selfcheck:
        log.info(benchmarks_text() if list else selfcheck_text())
        return
    if not (candidate.model and wanted.benchmark):
        raise UserError("--model and --benchmark are needed; --list prints the benchmarks")
    others = read_predictions(tables.against) if tables.against else []
    torch.set_num_threads(params.threads)
    definition = get_benchmark(wanted.benchmark)
    params = fitted(params.asking(candidate.model, candidate.server), "evaluate")
    if wanted.data is None:  # reading a benchmark can take hours
        check_model(params, candidate.model)
    prepared = questions(wanted, params_file, OUTSIDE_THE_GRAPH / "data")
    name = f"{candidate.label}-{prepared.folder.name}"
    found = evaluate(params, candidate.model, definition, prepared, name)
    write(found, prepared, tables, OUTSIDE_THE_GRAPH / name)
    # The text is the format, not an argument: the log would escape the line breaks of an argument.
    log.info(
        summary_text(
            candidate.label, wanted.benchmark, params.profile, found.summary, str(prepared.drawn or ""), found.judge
        )
    )
    if found.faithful:
        log.info("faithfulness: %s", faithfulness_text(found.faithful))
    if published := published_text(wanted.benchmark):
        log.info("as published (arXiv 2503.21776, video-r1 profile): %s", published)
    if tables.against:
        log.info("against %s: %s", tables.against, comparison_text(found.rows, others, definition, params.profile))
        asked = {candidate.label: found.asked, tables.against.stem: read_conditions(tables.against)}
        if differs := differences(asked):
            log.warning("the two were asked in different ways, which may explain the difference: %s", differs)
    if prepared.quarantine:
        log.warning("in quarantine, counted as missing: %s", rejects_text(prepared.quarantine))


def evaluate(params: EvaluateParams, model: str, benchmark: Benchmark, prepared: Prepared, name: str) -> Evaluated:
    """The scored answers of `model`, asked with `fitted` parameters.

    Answers and verdicts that are there are used; `name` names their work folders. UserError when no question has
    frames.
    """
    showings = plan(prepared.samples, prepared.reader.sample_ids, params.orders)
    if not showings:
        raise UserError(
            f"{prepared.folder}: none of the {len(prepared.samples)} questions has frames; "
            "read its quarantine.parquet and run the benchmark stage again"
        )
    engine, model_files = engine_of(params, model, prepared.reader)
    work = work_dir(f"evaluate/{name}", params.identity, [*model_files, *prepared.files])
    outputs = collect(engine, showings, work, params.max_failed, "evaluate")
    rows = [prediction_row(showing.sample, outputs[showing.key], benchmark) for showing in showings]
    judge = None
    if params.judge:
        rows, judge = judge_rows(
            params.judge, rows, prepared.samples, benchmark, params.seed, WORK / "evaluate" / "judge" / name
        )
    return Evaluated(
        rows=rows,
        summary=summarise(rows, prepared.n_questions, benchmark, params.profile),
        asked={**conditions_of(params, model_files, "evaluate"), "shown": shown(rows), **judged_by(judge)},
        judge=judge,
        faithful=_faithfulness(params, rows, prepared, benchmark, model_files) if params.faithfulness else {},
        resumed=resume_note(work),
    )


def write(found: Evaluated, prepared: Prepared, tables: Tables, place: Path) -> None:
    """Write the predictions, the metrics and the headline.

    Files without a path are `place` with a suffix; the headline has none.
    """
    schema = with_faithfulness(with_conditions(PREDICTION_SCHEMA, found.asked), found.faithful)
    predictions = tables.predictions or place.with_name(f"{place.name}.parquet")
    write_table(predictions, found.rows, with_judge(schema, found.judge))
    judged = {"judge": found.judge} if found.judge else {}
    followed = {name: asdict(figure) for name, figure in found.faithful.items()}
    faithful = {"faithfulness": followed} if followed else {}
    figures = found.summary.metrics() | judged | faithful | {"asked": found.asked} | prepared.note | found.resumed
    write_json(tables.metrics or place.with_name(f"{place.name}.json"), figures)
    if tables.headline:
        write_json(tables.headline, found.summary.few() | judged_by(found.judge))


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

"""One benchmark in the report: figures, sentences and examples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.data.conditions import read_conditions
from stages.data.order import Order
from stages.data.sample import read_rejects, read_samples
from stages.evaluation.benchmarks import get_benchmark
from stages.evaluation.definition import Profile
from stages.evaluation.faithfulness import FIGURES, Faithfulness, read_faithfulness
from stages.evaluation.judgements import JudgeRecord, judge_text, judged_by, read_judge
from stages.evaluation.predictions import read_predictions
from stages.evaluation.statistics import Estimate
from stages.reporting.cards import Card
from stages.reporting.charts import IntervalChart, interval_chart
from stages.reporting.comparison import Comparison, ModelScores, compare_models, label
from stages.reporting.findings import Findings, find
from stages.reporting.lessons import Lesson, lessons
from stages.reporting.paper_table import Run
from stages.reporting.wrong_answers import WrongAnswers, ZeroScore, wrong_answers, zero_scores
from stages.run.errors import UserError
from stages.video.frame_store import FrameReader

LESSON_CARDS = 4  # of each kind of lesson and benchmark


@dataclass(frozen=True)
class KindCharts:
    """Two charts by kind of question.

    `scores` shows all models, and `gaps` the last model's gap to each other order.
    """

    scores: IntervalChart | None
    gaps: IntervalChart | None


@dataclass(frozen=True)
class BenchmarkResult:
    """One benchmark with one number of frames.

    `anchor` is its place on the page. `judges` says by the model's name what its judge did, and `judge_names` names the
    judges whose verdicts are scores, "" for none. `faithfulness` holds one figure for each model, None where it was not
    measured. `files` are the tables behind it.
    """

    anchor: str
    comparison: Comparison
    findings: Findings
    kinds: KindCharts
    lessons: list[Lesson]
    wrong: list[WrongAnswers]
    zero_scores: list[ZeroScore]
    runs: list[Run]
    judges: dict[str, str]
    judge_names: str
    faithfulness: dict[str, list[Estimate | None]]
    files: list[Path]

    @property
    def cards(self) -> list[Card]:
        """The examples of the last model's answers."""
        return [card for part in (*self.lessons, *self.wrong) for card in part.cards]


def benchmark_result(
    name: str,
    frames: int,
    title: str,
    models: Sequence[str],
    benchmarks: Path,
    predictions: Path,
    profile: Profile,
    n_wrong: int,
) -> BenchmarkResult:
    """The result of `models` on one benchmark.

    UserError when the predictions of a model are not there. `n_wrong` is the largest number of wrong answers
    shown.
    """
    files = prediction_files(name, frames, models, predictions)
    rows = {model: read_predictions(path) for model, path in files.items()}
    folder, benchmark = benchmarks / f"{name}-{frames}", get_benchmark(name)
    questions = read_samples(folder / "samples.parquet")
    n_missing = len(read_rejects(folder / "quarantine.parquet"))
    samples = {sample.sample_id: sample for sample in questions}
    reader = FrameReader(folder / "frames", folder / "frames.parquet")
    asked = {model: read_conditions(path) for model, path in files.items()}
    judges = {model: record for model, path in files.items() if (record := read_judge(path))}
    comparison = compare_models(title, rows, len(questions), n_missing, benchmark, profile, asked)
    return BenchmarkResult(
        anchor=f"benchmark-{name}-{frames}",
        comparison=comparison,
        findings=find(rows, benchmark, profile, comparison.asked_differently),
        kinds=_kind_charts(comparison),
        lessons=lessons(rows[models[-1]], benchmark, samples, reader, profile, LESSON_CARDS),
        wrong=wrong_answers(rows, samples, reader, profile, n_wrong),
        zero_scores=zero_scores(rows, comparison.answer_counts, samples, reader, profile),
        runs=[Run(label(model), name, frames, answers, n_missing) for model, answers in rows.items()],
        judges={label(model): judge_text(record) for model, record in judges.items()},
        judge_names=judge_names(judges, models) if profile == "official" else "",
        faithfulness=_faithfulness([read_faithfulness(path) for path in files.values()]),
        files=list(files.values()),
    )


def prediction_files(name: str, frames: int, models: Sequence[str], predictions: Path) -> Mapping[str, Path]:
    """Each model's predictions of one benchmark; UserError without a file."""
    files = {model: predictions / f"{model}-{name}-{frames}.parquet" for model in models}
    if missing := [str(path) for path in files.values() if not path.exists()]:
        raise UserError(
            f"no predictions at {', '.join(missing)}; run `dvc repro evaluate`, or change report.models, "
            "report.benchmarks or report.frames in params.yaml"
        )
    return files


def judge_names(judges: Mapping[str, JudgeRecord], models: Sequence[str]) -> str:
    """The judges whose verdicts are scores.

    Each has its models beside it, unless there is one judge for all.
    """
    scored = {label(model): found["judge"] for model, record in judges.items() if (found := judged_by(record))}
    names = sorted(set(scored.values()))
    if len(names) == 1 and len(scored) == len(models):
        return names[0]
    return " and ".join(
        f"{name} ({', '.join(model for model, judge in scored.items() if judge == name)})" for name in names
    )


def _faithfulness(measured: Sequence[Faithfulness]) -> dict[str, list[Estimate | None]]:
    """One row for each figure that any model has, by its description."""
    names = [name for name in FIGURES if any(name in each for each in measured)]
    return {FIGURES[name]: [each.get(name) for each in measured] for name in names}


def added_chart(comparisons: Sequence[Comparison]) -> IntervalChart | None:
    """What video and order add for the last model, by benchmark."""
    orders: list[Order] = list(dict.fromkeys(order for comparison in comparisons for order in comparison.orders))
    last = {comparison.name: next(iter(comparison.slices.values()))[-1] for comparison in comparisons}
    gaps = {name: _gaps(found, orders) for name, found in last.items() if found and found.others}
    return interval_chart("Points lost in other showings, by benchmark", gaps, orders)


def _gaps(found: ModelScores, orders: Sequence[Order]) -> list[Estimate | None]:
    return [found.others[order].gap if order in found.others else None for order in orders]


def _kind_charts(comparison: Comparison) -> KindCharts:
    scores = {
        name: [found.ordered if found else None for found in models] for name, models in comparison.categories.items()
    }
    styles = [f"s{number}" for number in range(len(comparison.models))]
    subsets = zip(("all questions", "temporal", "static"), comparison.slices.values(), strict=False)
    last = {name: found[-1] for name, found in (*subsets, *comparison.categories.items()) if found}
    gaps = {name: _gaps(found, comparison.orders) for name, found in last.items() if found and found.others}
    return KindCharts(
        interval_chart(f"Score by kind of question, {comparison.name}", scores, styles),
        interval_chart(f"Points lost in other showings, {comparison.name}", gaps, comparison.orders),
    )

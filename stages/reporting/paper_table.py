"""What was measured beside what the paper reports: one table, scored by the rules of the paper's evaluation code."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stages.evaluation.benchmarks import get_benchmark
from stages.evaluation.metrics import estimate, shown, slices
from stages.evaluation.predictions import PredictionRow
from stages.evaluation.published import COLUMNS, ROWS
from stages.evaluation.statistics import Estimate


@dataclass(frozen=True)
class Measured:
    """A score of this project with what was really decoded for it, and how many questions were not asked or failed."""

    score: Estimate | None
    shown: str
    n_missing: int


@dataclass(frozen=True)
class Line:
    """One model with one frame budget: per benchmark a published percentage, a measured score, or None."""

    model: str
    frames: int | None
    cells: list[float | Measured | None]


@dataclass(frozen=True)
class Against:
    """The table: its columns, the paper's lines, and those of this project."""

    benchmarks: list[str]
    published: list[Line]
    measured: list[Line]


def against_paper(runs: Mapping[tuple[str, str, int], tuple[Sequence[PredictionRow], int]]) -> Against | None:
    """The table of (prediction rows, missing questions) by (model, benchmark, frames); None when no benchmark of the paper is there."""
    columns = [name for name in COLUMNS if any(name == benchmark for _, benchmark, _ in runs)]
    if not columns:
        return None
    published = [Line(row.model, row.frames, [row.score(name) for name in columns]) for row in ROWS]
    budgets = dict.fromkeys((model, frames) for model, benchmark, frames in runs if benchmark in columns)
    measured = [
        Line(
            model,
            frames,
            [_measured(name, *found) if (found := runs.get((model, name, frames))) else None for name in columns],
        )
        for model, frames in budgets
    ]
    return Against(columns, published, measured)


def _measured(name: str, rows: Sequence[PredictionRow], n_missing: int) -> Measured:
    benchmark = get_benchmark(name)
    kept = [row for row in rows if slices(benchmark)["all"](row)]
    failed = sum(row["order"] == "ordered" and row["status"] == "error" for row in rows)
    return Measured(estimate(kept, "ordered", benchmark, "video-r1"), shown(kept), n_missing + failed)

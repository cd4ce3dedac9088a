"""The paper's scores beside the measured scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stages.evaluation.benchmarks import get_benchmark
from stages.evaluation.metrics import estimate, shown, slices
from stages.evaluation.predictions import PredictionRow
from stages.evaluation.published import COLUMNS, ROWS
from stages.evaluation.statistics import Estimate


@dataclass(frozen=True)
class Run:
    """One model on one benchmark with one number of frames.

    `n_missing` counts the questions that could not be asked.
    """

    model: str
    benchmark: str
    frames: int
    rows: Sequence[PredictionRow]
    n_missing: int


@dataclass(frozen=True)
class Measured:
    """A measured score.

    `shown` says which frames were decoded. `n_missing` counts the questions that were not asked or failed.
    """

    score: Estimate | None
    shown: str
    n_missing: int


@dataclass(frozen=True)
class PaperRow:
    """One model with one number of frames.

    For each benchmark there is a published percentage, a measured score, or None.
    """

    model: str
    frames: int | None
    cells: list[float | Measured | None]


@dataclass(frozen=True)
class PaperTable:
    """The benchmarks, the paper's rows, and the measured rows."""

    benchmarks: list[str]
    published: list[PaperRow]
    measured: list[PaperRow]


def paper_table(runs: Sequence[Run]) -> PaperTable | None:
    """The table of the paper's benchmarks that `runs` hold; None without one."""
    asked = {run.benchmark for run in runs}
    columns = [name for name in COLUMNS if name in asked]
    if not columns:
        return None
    by_cell = {(run.model, run.frames, run.benchmark): run for run in runs}
    models = dict.fromkeys((run.model, run.frames) for run in runs if run.benchmark in columns)
    return PaperTable(
        columns,
        [PaperRow(row.model, row.frames, [row.score(name) for name in columns]) for row in ROWS],
        [_measured_row(model, frames, columns, by_cell) for model, frames in models],
    )


def _measured_row(
    model: str, frames: int, columns: Sequence[str], by_cell: Mapping[tuple[str, int, str], Run]
) -> PaperRow:
    found = [by_cell.get((model, frames, name)) for name in columns]
    return PaperRow(model, frames, [_measured(run) if run else None for run in found])


def _measured(run: Run) -> Measured:
    benchmark = get_benchmark(run.benchmark)
    rows = [row for row in run.rows if slices(benchmark)["all"](row)]
    failed = sum(row["order"] == "ordered" and row["status"] == "error" for row in run.rows)
    return Measured(estimate(rows, "ordered", benchmark, "video-r1"), shown(rows), run.n_missing + failed)

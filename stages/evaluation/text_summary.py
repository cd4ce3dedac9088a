"""An evaluation's metrics as text, for a person who reads the log."""

from collections.abc import Sequence
from itertools import zip_longest

from stages.data.sample import Reject
from stages.evaluation.benchmarks import get_benchmark, names
from stages.evaluation.definition import Benchmark, Profile
from stages.evaluation.judgements import JudgeRecord, judge_text
from stages.evaluation.metrics import Entry, Summary, compare, slices
from stages.evaluation.predictions import PredictionRow
from stages.evaluation.published import ROWS
from stages.evaluation.statistics import Estimate
from stages.run.log import escaped


def summary_text(
    name: str,
    benchmark: str,
    profile: Profile,
    summary: Summary,
    drawn: str = "",
    judge: JudgeRecord | None = None,
) -> str:
    """A line about the whole run, then a row for each subset.

    `drawn` says of which sample of the benchmark the figures are, `judge` who scored what no rule can. A row has the
    subset's size, its score in order, and the score and gap of each other order.
    """
    cells = _rows_of_cells(profile, summary)
    widths = [max(map(len, column)) for column in zip_longest(*cells, fillvalue="")]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip() for row in cells]
    first = [_first_line(name, benchmark, profile, summary, "have no verdict" if judge else "only a judge could score")]
    if drawn:
        first.append(f"of {drawn}; the intervals are those of the sample")
    if judge:
        first.append(escaped(judge_text(judge)))
    return "\n".join([*first, *lines])


def benchmarks_text() -> str:
    """Every benchmark: questions, metric, datasets, and what was checked."""
    entries = [(name, get_benchmark(name).about) for name in names()]
    lines = []
    for name, about in entries:
        if about:
            lines.append(f"{name}: {about.questions:,} questions; {about.metric}")
            lines.append(f"    on the hub: {', '.join(about.hub) or 'nowhere'}")
            lines.append(f"    checked: {about.checked}")
    return "\n".join([f"{len(lines) // 3} benchmarks", *lines])


def comparison_text(
    rows: Sequence[PredictionRow], others: Sequence[PredictionRow], benchmark: Benchmark, profile: Profile
) -> str:
    """Two models on common questions: difference, interval and McNemar's p."""
    in_mean = slices(benchmark)["all"]
    found = compare(list(filter(in_mean, rows)), list(filter(in_mean, others)), benchmark, profile)
    if found is None:
        return "no question in common"
    difference, p = found
    cell = _interval(difference.value, difference.low, difference.high).strip()
    return f"{cell} points on {difference.n} common questions in order, McNemar's p = {p:.2g}"


def published_text(benchmark: str) -> str:
    """The paper's figures for a benchmark, "" where the paper has none."""
    scores = [(row, score) for row in ROWS if (score := row.score(benchmark)) is not None]
    return ", ".join(
        f"{row.model}{f' at {row.frames} frames' if row.frames else ''} {score:.1f}" for row, score in scores
    )


def rejects_text(rejects: Sequence[Reject], most: int = 10) -> str:
    """The first questions that could not be asked, with their reasons."""
    named = ", ".join(f"{reject.sample_id} ({reject.reason})" for reject in rejects[:most])
    return named + (f" and {len(rejects) - most} more" if len(rejects) > most else "")


def _first_line(name: str, benchmark: str, profile: Profile, summary: Summary, not_scored: str) -> str:
    no_answer, no_option, truncated = (
        f"{summary.shares.get(share, 0):.1%}" for share in ("no_answer", "no_option", "truncated")
    )
    return (
        f"{name} on {benchmark}, {profile} profile: {summary.n} scored, {summary.n_missing} missing, "
        f"{summary.n_not_scored} {not_scored}; {no_answer} without an answer, "
        f"{no_option} that name no option, {truncated} truncated; {summary.shown}{_without_mean(summary)}"
    )


def _without_mean(summary: Summary) -> str:
    if not summary.n_no_category:
        return ""
    return (
        f"; no official mean, because {summary.n_no_category} questions lack the category that it needs: "
        "use the official records"
    )


def _rows_of_cells(profile: Profile, summary: Summary) -> list[list[str]]:
    scores = _by_place(summary.scores, profile)
    gaps = _by_place(summary.gaps, profile)
    others = [order for order in dict.fromkeys(order for _, _, order in scores) if order != "ordered"]
    rows = [["", "n", "ordered", *(title for order in others for title in (order, "gap"))]]
    for (by, place, order), entry in scores.items():
        if order == "ordered":
            row = [place if by == "all" else f"  {escaped(place)}", str(entry["n"]), _cell(entry)]
            for other in others:
                row += [_cell(scores.get((by, place, other))), _cell(gaps.get((by, place, other)))]
            rows.append(row)
    return rows + [_figure_row(name, figure) for name, figure in summary.figures.items()]


def _by_place(entries: Sequence[Entry], profile: Profile) -> dict[tuple[str, str, str], Entry]:
    return {(entry["by"], entry["slice"], entry["order"]): entry for entry in entries if entry["profile"] == profile}


def _figure_row(name: str, figure: Estimate) -> list[str]:
    return [f"  {name}", str(figure.n), _interval(figure.value, figure.low, figure.high)]


def _cell(entry: Entry | None) -> str:
    return _interval(entry["value"], entry["low"], entry["high"]) if entry else "–"


def _interval(value: float, low: float, high: float) -> str:
    """A share and its interval in percent."""
    return f"{100 * value:5.1f} [{100 * low:5.1f}, {100 * high:5.1f}]"

"""The predictions table, and every metric computed from it alone."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stages.data.grading import is_well_formed
from stages.data.sample import Sample
from stages.evaluation.definition import PROFILES, Benchmark, Profile, extract
from stages.evaluation.statistics import Estimate, mcnemar, nested_weights, paired_difference, wilson
from stages.run.errors import UserError
from stages.video.order import Order

Status = Literal["ok", "no_answer", "truncated", "error"]
Row = Mapping[str, Any]
Figure = Callable[[Sequence[Row], str, Benchmark, Profile], Estimate | None]

SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("order", pa.string()),
        ("category", pa.string()),
        ("problem_type", pa.string()),
        ("answer", pa.string()),
        ("text", pa.string()),
        ("prediction", pa.string()),
        ("status", pa.string()),
        ("well_formed", pa.bool_()),
        ("official", pa.float64()),
        ("video-r1", pa.float64()),
        ("tokens", pa.int32()),
        ("frame_order", pa.list_(pa.int32())),
        ("n_frames", pa.int32()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("detail", pa.string()),
    ]
)


def read_predictions(path: Path) -> list[dict[str, Any]]:
    """The rows of a predictions table; UserError when the file is none."""
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(f"{path}: cannot be read as predictions ({error})") from None
    if table.column_names != SCHEMA.names:
        raise UserError(f"{path}: a table, but not of predictions, whose columns are {', '.join(SCHEMA.names)}")
    return table.to_pylist()


def prediction_row(sample: Sample, output: Row, benchmark: Benchmark) -> dict[str, Any]:
    """One row of the table from a journal entry: what was generated, the answer in it, its score in each profile (null: not scored).

    An `error` is no answer of the model's: it has no scores and stays out of every accuracy.
    """
    text = output["text"]
    failed = output["status"] == "error"
    predictions = {profile: extract(text, profile) for profile in PROFILES}
    scores = {
        profile: None if failed else benchmark.score(predictions[profile], sample, profile) for profile in PROFILES
    }
    unanswered = output["status"] == "ok" and not predictions["official"]
    return {
        **{name: value for name, value in output.items() if name != "key"},
        **scores,
        "category": sample.category,
        "problem_type": sample.problem_type,
        "answer": sample.answer,
        "prediction": predictions["official"],
        "status": "no_answer" if unanswered else output["status"],
        "well_formed": is_well_formed(text),
    }


def summarise(rows: Sequence[Row], n_questions: int, benchmark: Benchmark, profile: Profile) -> dict[str, Any]:
    """The metrics of one predictions table: headline numbers of `profile` first, then `scores` and `gaps`: every slice of both profiles.

    `n_missing` counts questions of the benchmark without a prediction or with an error, which no accuracy includes; `n` are the
    questions behind the headline. Shares are of the ordered answers. Gaps are ordered minus another order on the same video questions.
    `shown` says what was really decoded.
    """
    ordered = [row for row in rows if row["order"] == "ordered" and row["status"] != "error"]
    scored = [row for row in ordered if row[profile] is not None and row["category"] not in benchmark.apart]
    metrics: dict[str, Any] = {
        "n": len(scored),
        "n_missing": n_questions - len(ordered),
        "n_not_scored": sum(row[profile] is None for row in ordered),
    }
    if not ordered:
        return metrics
    for name, keep in slices(benchmark).items():
        metrics |= _headline(
            "accuracy" if name == "all" else name, [row for row in rows if keep(row)], benchmark, profile
        )
    metrics["well_formed"] = sum(row["well_formed"] for row in ordered) / len(ordered)
    statuses = Counter(row["status"] for row in ordered)
    metrics |= {status: statuses[status] / len(ordered) for status in ("no_answer", "truncated")}
    metrics["tokens"] = sum(row["tokens"] for row in ordered) / len(ordered)
    others = other_orders(rows)
    metrics["shown"] = shown(ordered)
    metrics["figures"] = {name: asdict(figure) for name, figure in benchmark.figures(rows, profile).items()}
    metrics["scores"] = [
        row for each in PROFILES for row in _entries(rows, ["ordered", *others], benchmark, each, estimate)
    ]
    metrics["gaps"] = [row for each in PROFILES for row in _entries(rows, others, benchmark, each, gap)]
    return metrics


def shown(rows: Sequence[Row]) -> str:
    """What was really decoded: "8 frames of 48×48", or the range where it varies."""
    if not rows:
        return "no frames"
    counts = sorted({row["n_frames"] for row in rows})
    sizes = sorted({(row["width"], row["height"]) for row in rows}, key=lambda size: size[0] * size[1])
    text = " to ".join(f"{width}×{height}" for width, height in dict.fromkeys((sizes[0], sizes[-1])))
    return f"{'–'.join(str(count) for count in dict.fromkeys((counts[0], counts[-1])))} frames of {text}"


def estimate(rows: Sequence[Row], order: str, benchmark: Benchmark, profile: Profile) -> Estimate | None:
    """The score of the rows shown in `order`, weighted as the benchmark weighs them; None when there are none."""
    chosen = _by_question(rows, order, profile)
    if not chosen:
        return None
    return wilson(_scores_N(chosen, chosen, profile), _weights_N(chosen, benchmark, profile))


def gap(rows: Sequence[Row], order: str, benchmark: Benchmark, profile: Profile) -> Estimate | None:
    """Temporal reliance: what the score loses when the same questions see their frames in `order`; None without common questions."""
    found = gap_test(rows, order, benchmark, profile)
    return found[0] if found else None


def gap_test(rows: Sequence[Row], order: str, benchmark: Benchmark, profile: Profile) -> tuple[Estimate, float] | None:
    """The gap, and McNemar's p of the two orders."""
    return _paired(_by_question(rows, "ordered", profile), _by_question(rows, order, profile), benchmark, profile)


def slices(benchmark: Benchmark) -> dict[str, Callable[[Row], bool]]:
    """Named subsets of the questions; the temporal split only where a benchmark says which categories need the order of frames."""
    named: dict[str, Callable[[Row], bool]] = {"all": lambda row: row["category"] not in benchmark.apart}
    if benchmark.temporal:
        named["temporal"] = lambda row: row["category"] in benchmark.temporal
        named["static"] = lambda row: row["category"] not in benchmark.temporal | benchmark.apart
    return named


def categories(rows: Sequence[Row], benchmark: Benchmark) -> dict[str, Callable[[Row], bool]]:
    """Subsets by what a question is about: its category, each part of one that has parts ("yes_no/order"), and its official groups."""
    names = {
        row["category"]: {
            row["category"],
            *row["category"].split("/"),
            *benchmark.group(row["category"], row["problem_type"], "official"),
        }
        for row in rows
    }
    return {
        name: lambda row, name=name: name in names[row["category"]]
        for name in sorted(set().union(*names.values()) - {""})
    }


def kinds(rows: Sequence[Row], benchmark: Benchmark) -> dict[tuple[str, str], Callable[[Row], bool]]:
    """Every subset that has numbers of its own, by what it is a subset by: all, temporal, static, each category, each problem type."""
    types = sorted({row["problem_type"] for row in rows})
    return {
        **{("all", name): keep for name, keep in slices(benchmark).items()},
        **{("category", name): keep for name, keep in categories(rows, benchmark).items()},
        **{("problem_type", name): lambda row, name=name: row["problem_type"] == name for name in types},
    }


def compare(
    first: Sequence[Row], second: Sequence[Row], benchmark: Benchmark, profile: Profile
) -> tuple[Estimate, float] | None:
    """Two models on the same questions in order: first − second with its interval, and McNemar's p; None without common questions."""
    return _paired(
        _by_question(first, "ordered", profile), _by_question(second, "ordered", profile), benchmark, profile
    )


def _paired(
    first: Mapping[str, Row], second: Mapping[str, Row], benchmark: Benchmark, profile: Profile
) -> tuple[Estimate, float] | None:
    """First − second on the questions that both hold, and McNemar's p; None without any."""
    both = {sample_id: row for sample_id, row in first.items() if sample_id in second}
    if not both:
        return None
    first_N, second_N = _scores_N(first, both, profile), _scores_N(second, both, profile)
    return paired_difference(first_N, second_N, _weights_N(both, benchmark, profile)), mcnemar(first_N, second_N)


def _headline(name: str, rows: Sequence[Row], benchmark: Benchmark, profile: Profile) -> dict[str, float]:
    """A slice's score in order with its interval, then per other order the score and the gap."""
    found = estimate(rows, "ordered", benchmark, profile)
    if found is None:
        return {}
    metrics = {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
    for order in other_orders(rows):
        score, loss = estimate(rows, order, benchmark, profile), gap(rows, order, benchmark, profile)
        if score and loss:
            prefix = f"{name}_{order}"
            metrics |= {
                prefix: score.value,
                f"{prefix}_gap": loss.value,
                f"{prefix}_gap_low": loss.low,
                f"{prefix}_gap_high": loss.high,
            }
    return metrics


def _entries(
    rows: Sequence[Row], orders: Sequence[str], benchmark: Benchmark, profile: Profile, figure: Figure
) -> list[dict[str, Any]]:
    """One entry of `figure` per order and subset."""
    return [
        {"profile": profile, "order": order, "by": by, "slice": value, **asdict(found)}
        for order in orders
        for (by, value), keep in kinds(rows, benchmark).items()
        if (found := figure([row for row in rows if keep(row)], order, benchmark, profile))
    ]


def other_orders(rows: Sequence[Row]) -> list[str]:
    """The orders besides `ordered` that questions were asked in."""
    asked = {row["order"] for row in rows} - {"ordered"}
    return [order for order in get_args(Order) if order in asked]


def _by_question(rows: Sequence[Row], order: str, profile: Profile) -> dict[str, Row]:
    """Scored rows of one order by sample id, in a fixed order."""
    chosen = (row for row in rows if row["order"] == order and row["status"] != "error" and row[profile] is not None)
    return {row["sample_id"]: row for row in sorted(chosen, key=lambda row: row["sample_id"])}


def _scores_N(rows: Mapping[str, Row], sample_ids: Mapping[str, Row], profile: Profile) -> np.ndarray:
    return np.array([rows[sample_id][profile] for sample_id in sample_ids], dtype=np.float64)


def _weights_N(rows: Mapping[str, Row], benchmark: Benchmark, profile: Profile) -> np.ndarray:
    return nested_weights([benchmark.group(row["category"], row["problem_type"], profile) for row in rows.values()])

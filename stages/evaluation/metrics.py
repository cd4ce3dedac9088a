"""Every metric of an evaluation, computed from its predictions table alone."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TypedDict, get_args

import numpy as np

from stages.data.grading import MAX_ANSWER
from stages.data.order import Order
from stages.evaluation.definition import PROFILES, Benchmark, Profile
from stages.evaluation.predictions import PredictionRow
from stages.evaluation.statistics import Estimate, mcnemar, nested_weights, paired_difference, wilson

Figure = Callable[[Sequence[PredictionRow], Order, Benchmark, Profile], Estimate | None]
Keep = Callable[[PredictionRow], bool]
Shown = tuple[Sequence[PredictionRow], Order]
"""Rows, and the order of which they are taken."""
Pair = tuple[np.ndarray, np.ndarray, np.ndarray]
"""first_N and second_N, the scores of two runs on the same questions, and weights_N."""


class Entry(TypedDict):
    """One score or gap with its 95 % interval.

    It is that of `slice`, which is a subset by `by`, with the frames in `order`.
    """

    profile: Profile
    order: Order
    by: str
    slice: str
    value: float
    low: float
    high: float
    n: int


FEW = {  # the figures that `dvc metrics show` compares, and their short names there
    "accuracy": "accuracy",
    "accuracy_blind": "blind",
    "temporal": "temporal",
    "temporal_shuffled": "shuffled",
    "temporal_shuffled_gap": "gap",
    "static": "static",
    "no_answer": "no_answer",
}


@dataclass(frozen=True)
class Summary:
    """The metrics of one predictions table.

    `n` counts the questions behind the headline numbers. `n_missing` counts the benchmark's questions that have no
    prediction or an error; no accuracy includes them. `n_not_scored` counts those that only a judge model could score.
    `n_no_category` counts answered questions without a category that the official mean needs; where there are any, the
    official profile has no mean. `headline` holds each slice's scores and gaps in one profile; `scores` and `gaps` hold
    every subset in both profiles. `shares` are of the answers with frames in order: among them `no_option` of
    multiple-choice answers that name no option, and `graded_in_part` of answers that are longer than MAX_ANSWER;
    `tokens` is the mean number of generated tokens. `shown` says how many frames of which size were decoded.
    """

    n: int
    n_missing: int
    n_not_scored: int
    n_no_category: int
    headline: dict[str, float]
    shares: dict[str, float]
    shown: str
    figures: dict[str, Estimate]
    scores: list[Entry]
    gaps: list[Entry]

    def few(self) -> dict[str, float]:
        """The figures that `dvc metrics show` compares, where there are any."""
        found = self.headline | self.shares
        return {short: found[name] for name, short in FEW.items() if name in found}

    def metrics(self) -> dict[str, object]:
        """The content of the metrics file, headline and shares at its top."""
        return {
            "n": self.n,
            "n_missing": self.n_missing,
            "n_not_scored": self.n_not_scored,
            "n_no_category": self.n_no_category,
            **self.headline,
            **self.shares,
            "shown": self.shown,
            "figures": {name: asdict(figure) for name, figure in self.figures.items()},
            "scores": self.scores,
            "gaps": self.gaps,
        }


def summarise(rows: Sequence[PredictionRow], n_questions: int, benchmark: Benchmark, profile: Profile) -> Summary:
    """The metrics of one predictions table, the headline in `profile`.

    `n_questions` counts all questions of the benchmark.
    """
    ordered = [row for row in rows if row["order"] == "ordered" and row["status"] != "error"]
    others = other_orders(rows)
    return Summary(
        n=sum(row[profile] is not None and row["category"] not in benchmark.apart for row in ordered),
        n_missing=n_questions - len(ordered),
        n_not_scored=sum(row[profile] is None for row in ordered),
        n_no_category=sum(benchmark.lacks_category(row["category"]) for row in ordered),
        headline=_headline(rows, benchmark, profile),
        shares=_shares(ordered) if ordered else {},
        shown=shown(ordered),
        figures=benchmark.figures(rows, profile),
        scores=[row for each in PROFILES for row in _entries(rows, ["ordered", *others], benchmark, each, estimate)],
        gaps=[row for each in PROFILES for row in _entries(rows, others, benchmark, each, gap)],
    )


def shown(rows: Sequence[PredictionRow]) -> str:
    """What was decoded: "8 frames of 48×48", or its range."""
    seen = [row for row in rows if row["order"] != "blind"]
    if not seen:
        return "no frames"
    counts = [row["n_frames"] for row in seen]
    sizes = sorted({(row["width"], row["height"]) for row in seen}, key=lambda size: size[0] * size[1])
    numbers = "–".join(str(count) for count in dict.fromkeys((min(counts), max(counts))))
    pixels = " to ".join(f"{width}×{height}" for width, height in dict.fromkeys((sizes[0], sizes[-1])))
    return f"{numbers} frames of {pixels}"


def estimate(rows: Sequence[PredictionRow], order: Order, benchmark: Benchmark, profile: Profile) -> Estimate | None:
    """The score of the rows in `order`, None without any.

    The benchmark gives the weights.
    """
    chosen = _by_question(rows, order, profile)
    if not chosen or not _has_mean(chosen.values(), benchmark, profile):
        return None
    return wilson(_scores_N(chosen, chosen, profile), _weights_N(chosen, benchmark, profile))


def gap(rows: Sequence[PredictionRow], order: Order, benchmark: Benchmark, profile: Profile) -> Estimate | None:
    """Ordered minus `order` on the same questions, None without any."""
    pair = _pair((rows, "ordered"), (rows, order), benchmark, profile)
    return paired_difference(*pair) if pair else None


def gap_test(
    rows: Sequence[PredictionRow], order: Order, benchmark: Benchmark, profile: Profile
) -> tuple[Estimate, float] | None:
    """The gap, and McNemar's p of the two orders."""
    return _tested(_pair((rows, "ordered"), (rows, order), benchmark, profile))


def compare(
    first: Sequence[PredictionRow], second: Sequence[PredictionRow], benchmark: Benchmark, profile: Profile
) -> tuple[Estimate, float] | None:
    """First − second of two models on common questions, and McNemar's p.

    Frames are in order. None without common questions.
    """
    return _tested(_pair((first, "ordered"), (second, "ordered"), benchmark, profile))


def slices(benchmark: Benchmark) -> dict[str, Keep]:
    """Named subsets of the questions: all, temporal and static.

    The last two are there where the benchmark names temporal categories.
    """
    named: dict[str, Keep] = {"all": lambda row: row["category"] not in benchmark.apart}
    if benchmark.temporal:
        named["temporal"] = lambda row: row["category"] in benchmark.temporal
        named["static"] = lambda row: row["category"] not in benchmark.temporal | benchmark.apart
    return named


def categories(rows: Sequence[PredictionRow], benchmark: Benchmark) -> dict[str, Keep]:
    """Subsets by category, part of a category ("yes_no/order"), and official group."""
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


def subsets(rows: Sequence[PredictionRow], benchmark: Benchmark) -> dict[tuple[str, str], Keep]:
    """Every subset with numbers of its own, by (kind, name)."""
    types = sorted({row["problem_type"] for row in rows})
    return {
        **{("all", name): keep for name, keep in slices(benchmark).items()},
        **{("category", name): keep for name, keep in categories(rows, benchmark).items()},
        **{("problem_type", name): lambda row, name=name: row["problem_type"] == name for name in types},
    }


def other_orders(rows: Sequence[PredictionRow]) -> list[Order]:
    """The orders besides `ordered` that questions were asked in."""
    asked = {row["order"] for row in rows} - {"ordered"}
    return [order for order in get_args(Order) if order in asked]


def _headline(rows: Sequence[PredictionRow], benchmark: Benchmark, profile: Profile) -> dict[str, float]:
    metrics: dict[str, float] = {}
    for name, keep in slices(benchmark).items():
        title = "accuracy" if name == "all" else name
        metrics |= _headline_of_slice(title, [row for row in rows if keep(row)], benchmark, profile)
    return metrics


def _headline_of_slice(
    name: str, rows: Sequence[PredictionRow], benchmark: Benchmark, profile: Profile
) -> dict[str, float]:
    """A slice's score with interval; each other order's score and gap."""
    found = estimate(rows, "ordered", benchmark, profile)
    if found is None:
        return {}
    metrics = {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
    for order in other_orders(rows):
        score, loss = estimate(rows, order, benchmark, profile), gap(rows, order, benchmark, profile)
        if score and loss:
            prefix = f"{name}_{order}"
            metrics[prefix] = score.value
            metrics[f"{prefix}_gap"] = loss.value
            metrics[f"{prefix}_gap_low"] = loss.low
            metrics[f"{prefix}_gap_high"] = loss.high
    return metrics


def _shares(ordered: Sequence[PredictionRow]) -> dict[str, float]:
    statuses = Counter(row["status"] for row in ordered)
    choices = [row for row in ordered if row["problem_type"] == "multiple choice"]
    return {
        "well_formed": sum(row["well_formed"] for row in ordered) / len(ordered),
        "no_answer": statuses["no_answer"] / len(ordered),
        "no_option": sum(bool(row["prediction"]) and row["option"] is None for row in choices) / len(ordered),
        "graded_in_part": sum(len(row["prediction"] or "") > MAX_ANSWER for row in ordered) / len(ordered),
        "truncated": statuses["truncated"] / len(ordered),
        "tokens": sum(row["tokens"] for row in ordered) / len(ordered),
    }


def _entries(
    rows: Sequence[PredictionRow], orders: Sequence[Order], benchmark: Benchmark, profile: Profile, figure: Figure
) -> list[Entry]:
    """One entry of `figure` for each order and subset that has one."""
    chosen = {subset: [row for row in rows if keep(row)] for subset, keep in subsets(rows, benchmark).items()}
    return [
        Entry(profile=profile, order=order, by=by, slice=name, **asdict(found))
        for order in orders
        for (by, name), kept in chosen.items()
        if (found := figure(kept, order, benchmark, profile))
    ]


def _pair(one: Shown, other: Shown, benchmark: Benchmark, profile: Profile) -> Pair | None:
    """Both runs on their common questions; None without any."""
    first, second = _by_question(*one, profile), _by_question(*other, profile)
    both = {sample_id: row for sample_id, row in first.items() if sample_id in second}
    if not both or not _has_mean(both.values(), benchmark, profile):
        return None
    return _scores_N(first, both, profile), _scores_N(second, both, profile), _weights_N(both, benchmark, profile)


def _tested(pair: Pair | None) -> tuple[Estimate, float] | None:
    """The difference of a pair, and McNemar's p."""
    return (paired_difference(*pair), mcnemar(*pair[:2])) if pair else None


def _has_mean(rows: Iterable[PredictionRow], benchmark: Benchmark, profile: Profile) -> bool:
    """Whether all categories are there that the benchmark's official mean needs."""
    return profile != "official" or not any(benchmark.lacks_category(row["category"]) for row in rows)


def _by_question(rows: Sequence[PredictionRow], order: Order, profile: Profile) -> dict[str, PredictionRow]:
    """Scored rows of one order by sample id, in a fixed order."""
    chosen = [row for row in rows if row["order"] == order and row["status"] != "error" and row[profile] is not None]
    return {row["sample_id"]: row for row in sorted(chosen, key=lambda row: row["sample_id"])}


def _scores_N(
    rows: Mapping[str, PredictionRow], sample_ids: Mapping[str, PredictionRow], profile: Profile
) -> np.ndarray:
    return np.array([rows[sample_id][profile] for sample_id in sample_ids], dtype=np.float64)


def _weights_N(rows: Mapping[str, PredictionRow], benchmark: Benchmark, profile: Profile) -> np.ndarray:
    return nested_weights([benchmark.group(row["category"], row["problem_type"], profile) for row in rows.values()])

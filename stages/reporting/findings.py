"""What the predictions say, in figures and in sentences that claim no more than their intervals allow."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from stages.evaluation.definition import Benchmark, Profile
from stages.evaluation.metrics import categories, compare, estimate, gap, gap_test, other_orders, shown, slices
from stages.evaluation.predictions import PredictionRow
from stages.evaluation.statistics import Estimate
from stages.video.order import Order

LABELS = {"base": "base model", "sft": "SFT", "tgrpo": "T-GRPO"}
SLICES = {
    "all": "All questions",
    "temporal": "Questions that need the order of frames",
    "static": "Questions that do not",
}


@dataclass(frozen=True)
class Contrast:
    """A score with the frames in another order, and what that took away."""

    score: Estimate
    gap: Estimate


@dataclass(frozen=True)
class Bar:
    """One model on one slice: its score with frames in order, and by order those in the other ones."""

    label: str
    ordered: Estimate
    others: dict[str, Contrast]


@dataclass(frozen=True)
class Pair:
    """Two models on the same questions of one slice, in order: first − second, and McNemar's p."""

    first: str
    second: str
    slice: str
    difference: Estimate
    p: str


@dataclass(frozen=True)
class Outcome:
    """How one model's requests in order ended: how many failed, which count in no score, and which share of the others had no answer,
    or was cut off."""

    model: str
    failed: int
    no_answer: float
    truncated: float


@dataclass(frozen=True)
class Comparison:
    """One benchmark: bars per slice and per category for every model, and what follows from them.

    `figures` are the benchmark's own further numbers: (model, name, value).
    """

    name: str
    n_questions: int
    n_missing: int
    frames: str
    outcomes: list[Outcome]
    models: list[str]
    orders: list[Order]
    slices: dict[str, list[Bar]]
    categories: dict[str, list[Bar | None]]
    pairs: list[Pair]
    figures: list[tuple[str, str, Estimate]]
    sentences: list[str]


def compare_models(
    name: str,
    predictions: Mapping[str, Sequence[PredictionRow]],
    n_questions: int,
    n_missing: int,
    benchmark: Benchmark,
    profile: Profile,
) -> Comparison:
    """Everything the report says about the models of one benchmark, by model name in the order of training.

    `n_missing` questions could not be asked; they are told beside the `n_questions` that could.
    """
    named = {
        SLICES[key]: [
            bar for model, rows in predictions.items() if (bar := _bar(model, _kept(rows, keep), benchmark, profile))
        ]
        for key, keep in slices(benchmark).items()
    }
    found = categories([row for rows in predictions.values() for row in rows], benchmark)
    table = {
        category: [_bar(model, _kept(rows, keep), benchmark, profile) for model, rows in predictions.items()]
        for category, keep in sorted(found.items(), key=lambda item: (item[0] not in benchmark.temporal, item[0]))
    }
    return Comparison(
        name=name,
        n_questions=n_questions,
        n_missing=n_missing,
        frames=shown([row for rows in predictions.values() for row in rows]),
        outcomes=[_outcome(label(model), rows) for model, rows in predictions.items()],
        models=[label(model) for model in predictions],
        orders=other_orders([row for rows in predictions.values() for row in rows]),
        slices=named,
        categories=table,
        pairs=_pairs(predictions, benchmark, profile),
        figures=[
            (label(model), figure.replace("_", " "), value)
            for model, rows in predictions.items()
            for figure, value in benchmark.figures(rows, profile).items()
        ],
        sentences=sentences(predictions, benchmark, profile),
    )


def sentences(predictions: Mapping[str, Sequence[PredictionRow]], benchmark: Benchmark, profile: Profile) -> list[str]:
    """What was learned, from the last model's point of view; each sentence depends on whether an interval excludes zero."""
    key = "temporal" if benchmark.temporal else "all"
    keep = slices(benchmark)[key]
    kept = {model: _kept(rows, keep) for model, rows in predictions.items()}
    last = list(kept)[-1]
    reached = estimate(kept[last], "ordered", benchmark, profile)
    if reached is None:
        return [f"{label(last)} has no scored answer on these questions, so nothing can be said about it."]
    which = "questions that need the order of frames" if benchmark.temporal else "questions"
    told = [
        f"On {reached.n} {which}, {label(last)} scores {percent(reached)}{_earlier(kept, last, benchmark, profile)}."
    ]
    told += [_change(kept, last, benchmark, profile)] if len(kept) > 1 else []
    told.append(_reliance(kept[last], which, label(last), benchmark, profile))
    if benchmark.temporal:
        static = gap(_kept(predictions[last], slices(benchmark)["static"]), "shuffled", benchmark, profile)
        told += [_control(static)] if static else []
    return [sentence for sentence in told if sentence]


def label(model: str) -> str:
    return LABELS.get(model, model)


def percent(estimate: Estimate) -> str:
    """A score with its interval: 78.9 % (74.1 to 83.0)."""
    return f"{100 * estimate.value:.1f} % ({100 * estimate.low:.1f} to {100 * estimate.high:.1f})"


def points(estimate: Estimate) -> str:
    """A difference of scores with its interval, in percentage points."""
    return f"{signed(estimate.value)} points ({signed(estimate.low)} to {signed(estimate.high)})"


def signed(share: float, places: int = 1) -> str:
    """A difference in percentage points with its sign; what rounds to zero has none."""
    text = f"{100 * share:+.{places}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def _earlier(kept: Mapping[str, Sequence[PredictionRow]], last: str, benchmark: Benchmark, profile: Profile) -> str:
    found = {model: estimate(rows, "ordered", benchmark, profile) for model, rows in kept.items() if model != last}
    scores = [f"{100 * score.value:.1f} % for {label(model)}" for model, score in found.items() if score]
    return f", against {' and '.join(scores)}" if scores else ""


def _change(kept: Mapping[str, Sequence[PredictionRow]], last: str, benchmark: Benchmark, profile: Profile) -> str:
    before = list(kept)[-2]
    found = compare(kept[last], kept[before], benchmark, profile)
    if found is None:
        return ""
    difference, p = found
    verdict = (
        f"{label(last)} against {label(before)}, question by question: {points(difference)}, {_p_value(p)} (McNemar)"
    )
    if difference.low <= 0 <= difference.high or p > 0.05:
        return f"{verdict}; chance alone could explain a difference of this size."
    return f"{verdict}; more than chance would give, {'a gain' if difference.value > 0 else 'a loss'}."


def _p_value(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _reliance(rows: Sequence[PredictionRow], which: str, name: str, benchmark: Benchmark, profile: Profile) -> str:
    found, shuffled = gap_test(rows, "shuffled", benchmark, profile), estimate(rows, "shuffled", benchmark, profile)
    if found is None or shuffled is None:
        return ""
    lost, p = found
    told = (
        f"With the same frames shuffled it scores {percent(shuffled)}, a gap of {points(lost)}, {_p_value(p)} (McNemar)"
    )
    if lost.low > 0 and p <= 0.05:
        return f"{told}: that part of its score rests on what happens when, not on what single frames show."
    return f"{told}: these figures do not show that {name} uses the order of frames."


def _control(static: Estimate) -> str:
    if static.low <= 0 <= static.high:
        return f"Questions that need no order lose nothing measurable by shuffling: {points(static)}."
    return f"Questions that need no order change by {points(static)} when shuffled, so a part of the gap is not about time."


def _outcome(name: str, rows: Sequence[PredictionRow]) -> Outcome:
    counts = Counter(row["status"] for row in rows if row["order"] == "ordered")
    answered = max(1, counts.total() - counts["error"])
    return Outcome(name, counts["error"], counts["no_answer"] / answered, counts["truncated"] / answered)


def _bar(model: str, rows: Sequence[PredictionRow], benchmark: Benchmark, profile: Profile) -> Bar | None:
    ordered = estimate(rows, "ordered", benchmark, profile)
    if ordered is None:
        return None
    others = {}
    for order in other_orders(rows):
        score, lost = estimate(rows, order, benchmark, profile), gap(rows, order, benchmark, profile)
        if score and lost:
            others[order] = Contrast(score, lost)
    return Bar(label(model), ordered, others)


def _pairs(predictions: Mapping[str, Sequence[PredictionRow]], benchmark: Benchmark, profile: Profile) -> list[Pair]:
    """Every later model against every earlier one, on each slice."""
    pairs = []
    for key, keep in slices(benchmark).items():
        for (second, before), (first, after) in combinations(predictions.items(), 2):
            if found := compare(_kept(after, keep), _kept(before, keep), benchmark, profile):
                pairs.append(Pair(label(first), label(second), SLICES[key], found[0], _p_value(found[1])))
    return pairs


def _kept(rows: Sequence[PredictionRow], keep: Any) -> list[PredictionRow]:
    return [row for row in rows if keep(row)]

"""The figures of one benchmark: models on subsets, and models in pairs."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from stages.evaluation.definition import Benchmark, Profile
from stages.evaluation.metrics import Keep, categories, compare, estimate, gap, other_orders, shown, slices
from stages.evaluation.predictions import PredictionRow
from stages.evaluation.statistics import Estimate
from stages.reporting.numbers import p_value
from stages.video.order import Order

LABELS = {"base": "base model", "sft": "SFT", "tgrpo": "T-GRPO"}
SLICES = {
    "all": "All questions",
    "temporal": "Questions that need the order of frames",
    "static": "Questions that do not need the order",
}


@dataclass(frozen=True)
class OrderScore:
    """A score with the frames in another order, and its gap.

    The gap is the score in order minus this score.
    """

    score: Estimate
    gap: Estimate


@dataclass(frozen=True)
class ModelScores:
    """One model on one subset: its scores in every order."""

    label: str
    ordered: Estimate
    others: dict[Order, OrderScore]


@dataclass(frozen=True)
class ModelDifference:
    """Two models on the same questions, frames in order.

    `difference` is first − second, and `p` is McNemar's.
    """

    first: str
    second: str
    slice: str
    difference: Estimate
    p: str


@dataclass(frozen=True)
class AnswerCounts:
    """How one model's answers with frames in order ended.

    `failed` counts the requests that failed; they count in no score. `no_answer` and `truncated` are shares of the
    other requests.
    """

    model: str
    failed: int
    no_answer: float
    truncated: float


@dataclass(frozen=True)
class Comparison:
    """All models on one benchmark.

    `slices` leaves out a model without scored answers, and `categories` holds None for it. `figures` are the
    benchmark's own further numbers: (model, name, value).
    """

    name: str
    n_questions: int
    n_missing: int
    frames: str
    answer_counts: list[AnswerCounts]
    models: list[str]
    orders: list[Order]
    slices: dict[str, list[ModelScores]]
    categories: dict[str, list[ModelScores | None]]
    differences: list[ModelDifference]
    figures: list[tuple[str, str, Estimate]]


def compare_models(
    name: str,
    predictions: Mapping[str, Sequence[PredictionRow]],
    n_questions: int,
    n_missing: int,
    benchmark: Benchmark,
    profile: Profile,
) -> Comparison:
    """The figures of one benchmark.

    `predictions` holds each model's rows, in the order of training. `n_questions` could be asked; `n_missing` more
    could not, because they have no usable media.
    """
    every_row = [row for rows in predictions.values() for row in rows]
    return Comparison(
        name=name,
        n_questions=n_questions,
        n_missing=n_missing,
        frames=shown(every_row),
        answer_counts=[_answer_counts(label(model), rows) for model, rows in predictions.items()],
        models=[label(model) for model in predictions],
        orders=other_orders(every_row),
        slices=_slice_scores(predictions, benchmark, profile),
        categories=_category_scores(predictions, benchmark, profile),
        differences=_differences(predictions, benchmark, profile),
        figures=[
            (label(model), figure.replace("_", " "), value)
            for model, rows in predictions.items()
            for figure, value in benchmark.figures(rows, profile).items()
        ],
    )


def label(model: str) -> str:
    """A model's name as the report writes it."""
    return LABELS.get(model, model)


def kept(rows: Sequence[PredictionRow], keep: Keep) -> list[PredictionRow]:
    """The rows of one subset."""
    return [row for row in rows if keep(row)]


def _slice_scores(
    predictions: Mapping[str, Sequence[PredictionRow]], benchmark: Benchmark, profile: Profile
) -> dict[str, list[ModelScores]]:
    scores: dict[str, list[ModelScores]] = {}
    for name, keep in slices(benchmark).items():
        found = [_model_scores(model, kept(rows, keep), benchmark, profile) for model, rows in predictions.items()]
        scores[SLICES[name]] = [each for each in found if each]
    return scores


def _category_scores(
    predictions: Mapping[str, Sequence[PredictionRow]], benchmark: Benchmark, profile: Profile
) -> dict[str, list[ModelScores | None]]:
    """The scores by category; temporal categories come first."""
    found = categories([row for rows in predictions.values() for row in rows], benchmark)
    return {
        name: [_model_scores(model, kept(rows, found[name]), benchmark, profile) for model, rows in predictions.items()]
        for name in sorted(found, key=lambda name: (name not in benchmark.temporal, name))
    }


def _model_scores(
    model: str, rows: Sequence[PredictionRow], benchmark: Benchmark, profile: Profile
) -> ModelScores | None:
    ordered = estimate(rows, "ordered", benchmark, profile)
    if ordered is None:
        return None
    others: dict[Order, OrderScore] = {}
    for order in other_orders(rows):
        score, lost = estimate(rows, order, benchmark, profile), gap(rows, order, benchmark, profile)
        if score and lost:
            others[order] = OrderScore(score, lost)
    return ModelScores(label(model), ordered, others)


def _differences(
    predictions: Mapping[str, Sequence[PredictionRow]], benchmark: Benchmark, profile: Profile
) -> list[ModelDifference]:
    """Every later model against every earlier model, on each slice."""
    differences = []
    for name, keep in slices(benchmark).items():
        for (second, before), (first, after) in combinations(predictions.items(), 2):
            if found := compare(kept(after, keep), kept(before, keep), benchmark, profile):
                difference, p = found
                differences.append(ModelDifference(label(first), label(second), SLICES[name], difference, p_value(p)))
    return differences


def _answer_counts(name: str, rows: Sequence[PredictionRow]) -> AnswerCounts:
    counts = Counter(row["status"] for row in rows if row["order"] == "ordered")
    answered = max(1, counts.total() - counts["error"])
    return AnswerCounts(name, counts["error"], counts["no_answer"] / answered, counts["truncated"] / answered)

"""The figures of one benchmark: models on subsets, and models in pairs."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from stages.data.conditions import Conditions, differences
from stages.data.order import Order
from stages.evaluation.definition import Benchmark, Profile
from stages.evaluation.metrics import Keep, categories, compare, estimate, gap, other_orders, shown, slices
from stages.evaluation.predictions import PredictionRow
from stages.evaluation.statistics import Estimate
from stages.reporting.numbers import p_value

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
    """One model on one subset.

    `ordered` counts every question with a score in order, images too. `compared` and `others` count only the questions
    with a score in every order, so that they compare like with like.
    """

    label: str
    ordered: Estimate
    compared: Estimate
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

    `failed` counts the requests that failed; they count in no score. `no_answer` and `truncated` count among the
    `answered` requests.
    """

    model: str
    failed: int
    answered: int
    no_answer: int
    truncated: int


@dataclass(frozen=True)
class Comparison:
    """All models on one benchmark.

    `slices` and `categories` hold one entry for each model, None for a model without a scored answer. `figures` are the
    benchmark's own further numbers: (model, name, value). `asked_differently` says in what the models were asked in
    different ways, "" in nothing.
    """

    name: str
    n_questions: int
    n_missing: int
    frames: str
    answer_counts: list[AnswerCounts]
    models: list[str]
    orders: list[Order]
    slices: dict[str, list[ModelScores | None]]
    categories: dict[str, list[ModelScores | None]]
    differences: list[ModelDifference]
    figures: list[tuple[str, str, Estimate]]
    asked_differently: str = ""


def compare_models(
    name: str,
    predictions: Mapping[str, Sequence[PredictionRow]],
    n_questions: int,
    n_missing: int,
    benchmark: Benchmark,
    profile: Profile,
    asked: Mapping[str, Conditions | None] | None = None,
) -> Comparison:
    """The figures of one benchmark.

    `predictions` holds each model's rows, in the order of training. `n_questions` could be asked; `n_missing` more
    could not, because they have no usable media. `asked` says how each model was asked.
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
        asked_differently=differences({label(model): conditions for model, conditions in (asked or {}).items()}),
    )


def label(model: str) -> str:
    """A model's name as the report writes it."""
    return LABELS.get(model, model)


def kept(rows: Sequence[PredictionRow], keep: Keep) -> list[PredictionRow]:
    """The rows of one subset."""
    return [row for row in rows if keep(row)]


def like_with_like(rows: Sequence[PredictionRow], profile: Profile) -> list[PredictionRow]:
    """The rows of the questions that have a score in every order.

    An image has only one order, so its question is not among them when videos were shown in several.
    """
    orders: dict[str, set[Order]] = defaultdict(set)
    for row in rows:
        if row[profile] is not None and row["status"] != "error":
            orders[row["sample_id"]].add(row["order"])
    every_order = {"ordered", *other_orders(rows)}
    return [row for row in rows if orders[row["sample_id"]] == every_order]


def _slice_scores(
    predictions: Mapping[str, Sequence[PredictionRow]], benchmark: Benchmark, profile: Profile
) -> dict[str, list[ModelScores | None]]:
    return {
        SLICES[name]: [
            _model_scores(model, kept(rows, keep), benchmark, profile) for model, rows in predictions.items()
        ]
        for name, keep in slices(benchmark).items()
    }


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
    comparable = like_with_like(rows, profile)
    others: dict[Order, OrderScore] = {}
    for order in other_orders(comparable):
        score, lost = estimate(comparable, order, benchmark, profile), gap(comparable, order, benchmark, profile)
        if score and lost:
            others[order] = OrderScore(score, lost)
    compared = estimate(comparable, "ordered", benchmark, profile) if others else None
    return ModelScores(label(model), ordered, compared or ordered, others)


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
    answered = counts.total() - counts["error"]
    return AnswerCounts(name, counts["error"], answered, counts["no_answer"], counts["truncated"])

"""What the predictions show, in sentences that their intervals allow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stages.data.order import Order
from stages.evaluation.definition import Benchmark, Profile
from stages.evaluation.metrics import compare, estimate, gap_test, slices
from stages.evaluation.predictions import PredictionRow
from stages.evaluation.statistics import Estimate
from stages.reporting.comparison import kept, label, like_with_like
from stages.reporting.numbers import p_value, percent, points

EMBEDDED_BENCHMARK = "shapes"
PLAIN_GRPO = (
    "On the embedded questions (shapes), plain GRPO does as well as T-GRPO: six ways to train, with three seeds each, "
    "ended at the same scores. So the temporal reward is not the reason for the gain (docs/results.md, “What the "
    "temporal reward adds”)."
)
EMBEDDED_BASE = (
    "The embedded base model has learned to see, but not to write: alignment taught its vision to name what a frame "
    "shows, and its language model has random weights. SFT is its first training on answers."
)


@dataclass(frozen=True)
class Findings:
    """Sentences about the last model of training.

    `gained` says whether it gained on the model before, and `lost` whether it lost. `uses_order` and `uses_frames` say
    whether its score needs the order of frames, and the frames. All four mean more than chance.
    """

    sentences: list[str]
    gained: bool = False
    lost: bool = False
    uses_order: bool = False
    uses_frames: bool = False


def find(
    predictions: Mapping[str, Sequence[PredictionRow]],
    benchmark: Benchmark,
    profile: Profile,
    asked_differently: str = "",
) -> Findings:
    """What the last model of training gained, and what its score needs.

    `predictions` holds each model's rows, in the order of training. The questions are those that need the order of
    frames, where the benchmark names such categories. `asked_differently` says in what the models were asked in
    different ways; then no difference between them counts as a gain.
    """
    keep = slices(benchmark)["temporal" if benchmark.temporal else "all"]
    chosen = {model: kept(rows, keep) for model, rows in predictions.items()}
    last = list(chosen)[-1]
    reached = estimate(chosen[last], "ordered", benchmark, profile)
    if reached is None:
        told = f"{label(last)} has no scored answer on these questions, so the report can say nothing about it."
        return Findings([told])
    which = "questions that need the order of frames" if benchmark.temporal else "questions"
    earlier = _earlier_scores(chosen, last, benchmark, profile)
    told = [f"{label(last)} scores {percent(reached)} on {reached.n} {which}{earlier}."]
    if asked_differently:
        told.insert(0, f"The models were asked in different ways: {asked_differently}.")
    gain, change = _gain(chosen, last, benchmark, profile, comparable=not asked_differently)
    use, uses_order = _use_of_order(chosen[last], reached.n, label(last), benchmark, profile)
    seen, uses_frames = _use_of_frames(chosen[last], label(last), benchmark, profile)
    static = ""
    if benchmark.temporal:
        static = _static_gap(kept(predictions[last], slices(benchmark)["static"]), label(last), benchmark, profile)
    sentences = [sentence for sentence in (*told, gain, use, seen, static) if sentence]
    return Findings(sentences, change > 0, change < 0, uses_order, uses_frames)


def page_title(models: Sequence[str], benchmarks: Sequence[str], found: Sequence[Findings]) -> str:
    """The title of the page.

    It is the main finding on one benchmark, and says what was evaluated on several.
    """
    last = label(models[-1])
    if len(found) != 1:
        return f"{last} on {len(found)} benchmarks"
    [finding] = found
    before = f"{label(models[-2])}" if len(models) > 1 else ""
    if not finding.gained and not finding.uses_order:
        return f"{last} on {benchmarks[0]}: no gain and no use of order is shown"
    parts = [f"gains on {before}"] if finding.gained else []
    parts += ["uses the order of frames"] if finding.uses_order else []
    title = f"{last} {' and '.join(parts)}"
    return f"{title}; plain GRPO does as well" if plain_grpo_note(models, benchmarks) else title


def page_lede(models: Sequence[str], found: Sequence[Findings]) -> str:
    """What several benchmarks show together.

    It is the first finding of one benchmark.
    """
    if len(found) == 1:
        return found[0].sentences[0]
    last, before = label(models[-1]), label(models[-2]) if len(models) > 1 else ""
    gained, lost = sum(each.gained for each in found), sum(each.lost for each in found)
    order, frames = sum(each.uses_order for each in found), sum(each.uses_frames for each in found)
    change = f"{last} gains on {before} on {gained} of {len(found)} benchmarks and loses on {lost}. " if before else ""
    return (
        f"{change}The score of {last} needs the order of frames on {order} of {len(found)}, "
        f"and any frames on {frames}. A difference that chance alone could explain does not count."
    )


def plain_grpo_note(models: Sequence[str], benchmarks: Sequence[str]) -> str:
    """What docs/results.md found about plain GRPO, "" for other pages."""
    return PLAIN_GRPO if models[-1] == "tgrpo" and EMBEDDED_BENCHMARK in benchmarks else ""


def base_note(sections: Mapping[object, object]) -> str:
    """Why the embedded base model scores zero, "" for another model.

    `sections` are those of params.yaml.
    """
    base = sections.get("base")
    return EMBEDDED_BASE if isinstance(base, dict) and base.get("model") == "embedded" else ""


def _earlier_scores(
    chosen: Mapping[str, Sequence[PredictionRow]], last: str, benchmark: Benchmark, profile: Profile
) -> str:
    found = {model: estimate(rows, "ordered", benchmark, profile) for model, rows in chosen.items() if model != last}
    scores = [f"{label(model)}: {100 * score.value:.1f} %" for model, score in found.items() if score]
    return f" ({', '.join(scores)})" if scores else ""


def _gain(
    chosen: Mapping[str, Sequence[PredictionRow]], last: str, benchmark: Benchmark, profile: Profile, comparable: bool
) -> tuple[str, int]:
    """The sentence on the last two models, and the change's sign.

    It is 1 for a gain, −1 for a loss, and 0 otherwise.
    """
    if len(chosen) < 2:
        return "", 0
    before = list(chosen)[-2]
    found = compare(chosen[last], chosen[before], benchmark, profile)
    if found is None:
        return "", 0
    difference, p = found
    told = f"The difference between {label(last)} and {label(before)} on the same questions is {points(difference)}"
    told += f", {p_value(p)} (McNemar's test)."
    if not comparable:
        return f"{told} The way of asking may explain it.", 0
    if _may_be_chance(difference, p):
        return f"{told} Chance alone could explain it.", 0
    what, change = ("a gain", 1) if difference.value > 0 else ("a loss", -1)
    return f"{told} This is {what}: chance alone does not explain it.", change


def _use_of_order(
    rows: Sequence[PredictionRow], n_scored: int, name: str, benchmark: Benchmark, profile: Profile
) -> tuple[str, bool]:
    """The sentence on shuffled frames, and whether the score needs the order."""
    found = _in_order_and(rows, "shuffled", benchmark, profile)
    if found is None:
        return "", False
    n = found.ordered.n
    which = "these questions" if n == n_scored else f"the {n} of them that were asked in every order"
    told = f"On {which}, {name} scores {found.scores}. The gap is {found.gap}."
    if found.lost.value > 0 and not _may_be_chance(found.lost, found.p):
        return f"{told} This part of the score needs the order of frames.", True
    return f"{told} These figures do not show that {name} uses the order of frames.", False


def _use_of_frames(
    rows: Sequence[PredictionRow], name: str, benchmark: Benchmark, profile: Profile
) -> tuple[str, bool]:
    """The sentence on questions without their frames, and whether the frames add."""
    found = _in_order_and(rows, "blind", benchmark, profile)
    if found is None:
        return "", False
    told = f"Without any frame, {name} scores {percent(found.other)} on the same {found.ordered.n} questions."
    if found.lost.value > 0 and not _may_be_chance(found.lost, found.p):
        return f"{told} The frames add {found.gap}.", True
    return f"{told} The difference is {found.gap}: these figures do not show that the frames add anything.", False


def _static_gap(rows: Sequence[PredictionRow], name: str, benchmark: Benchmark, profile: Profile) -> str:
    found = _in_order_and(rows, "shuffled", benchmark, profile)
    if found is None:
        return ""
    told = f"On {found.ordered.n} video questions that do not need the order, {name} scores {found.scores}. "
    told += f"The gap is {found.gap}."
    if _may_be_chance(found.lost, found.p):
        return f"{told} Chance alone could explain it."
    return f"{told} So shuffling also makes things harder to see, and a part of the gap above is not about time."


@dataclass(frozen=True)
class _InOrderAnd:
    """The same questions in order and in another showing.

    The scores, the gap, and McNemar's p.
    """

    ordered: Estimate
    other: Estimate
    lost: Estimate
    p: float

    @property
    def scores(self) -> str:
        return f"{percent(self.ordered)} in order and {percent(self.other)} shuffled"

    @property
    def gap(self) -> str:
        return f"{points(self.lost)}, {p_value(self.p)} (McNemar's test)"


def _in_order_and(
    rows: Sequence[PredictionRow], order: Order, benchmark: Benchmark, profile: Profile
) -> _InOrderAnd | None:
    """None when no question has a score in every order."""
    comparable = like_with_like(rows, profile)
    found = gap_test(comparable, order, benchmark, profile)
    ordered = estimate(comparable, "ordered", benchmark, profile)
    other = estimate(comparable, order, benchmark, profile)
    return _InOrderAnd(ordered, other, *found) if found and ordered and other else None


def _may_be_chance(difference: Estimate, p: float) -> bool:
    return difference.low <= 0 <= difference.high or p > 0.05

"""What the predictions show, in sentences that their intervals allow."""

from collections.abc import Mapping, Sequence

from stages.evaluation.definition import Benchmark, Profile
from stages.evaluation.metrics import compare, estimate, gap, gap_test, slices
from stages.evaluation.predictions import PredictionRow
from stages.reporting.comparison import kept, label
from stages.reporting.numbers import p_value, percent, points


def sentences(predictions: Mapping[str, Sequence[PredictionRow]], benchmark: Benchmark, profile: Profile) -> list[str]:
    """What the last model of training gained, and what its score needs.

    `predictions` holds each model's rows, in the order of training.
    """
    keep = slices(benchmark)["temporal" if benchmark.temporal else "all"]
    chosen = {model: kept(rows, keep) for model, rows in predictions.items()}
    last = list(chosen)[-1]
    reached = estimate(chosen[last], "ordered", benchmark, profile)
    if reached is None:
        return [f"{label(last)} has no scored answer on these questions, so the report can say nothing about it."]
    which = "questions that need the order of frames" if benchmark.temporal else "questions"
    earlier = _earlier_scores(chosen, last, benchmark, profile)
    told = [f"{label(last)} scores {percent(reached)} on {reached.n} {which}{earlier}."]
    if len(chosen) > 1:
        told.append(_gain(chosen, last, benchmark, profile))
    told.append(_use_of_order(chosen[last], label(last), benchmark, profile))
    if benchmark.temporal:
        told.append(_static_gap(kept(predictions[last], slices(benchmark)["static"]), benchmark, profile))
    return [sentence for sentence in told if sentence]


def _earlier_scores(
    chosen: Mapping[str, Sequence[PredictionRow]], last: str, benchmark: Benchmark, profile: Profile
) -> str:
    found = {model: estimate(rows, "ordered", benchmark, profile) for model, rows in chosen.items() if model != last}
    scores = [f"{label(model)} scores {100 * score.value:.1f} %" for model, score in found.items() if score]
    return f"; {' and '.join(scores)}" if scores else ""


def _gain(chosen: Mapping[str, Sequence[PredictionRow]], last: str, benchmark: Benchmark, profile: Profile) -> str:
    before = list(chosen)[-2]
    found = compare(chosen[last], chosen[before], benchmark, profile)
    if found is None:
        return ""
    difference, p = found
    told = f"The difference between {label(last)} and {label(before)} on the same questions is {points(difference)}"
    told += f", {p_value(p)} (McNemar's test)."
    if difference.low <= 0 <= difference.high or p > 0.05:
        return f"{told} Chance alone could explain it."
    return f"{told} This is {'a gain' if difference.value > 0 else 'a loss'}: chance alone does not explain it."


def _use_of_order(rows: Sequence[PredictionRow], name: str, benchmark: Benchmark, profile: Profile) -> str:
    found, shuffled = gap_test(rows, "shuffled", benchmark, profile), estimate(rows, "shuffled", benchmark, profile)
    if found is None or shuffled is None:
        return ""
    lost, p = found
    told = f"With the same frames shuffled, {name} scores {percent(shuffled)}. The gap is {points(lost)}, {p_value(p)}"
    told += " (McNemar's test)."
    if lost.low > 0 and p <= 0.05:
        return f"{told} This part of the score needs the order of frames."
    return f"{told} These figures do not show that {name} uses the order of frames."


def _static_gap(rows: Sequence[PredictionRow], benchmark: Benchmark, profile: Profile) -> str:
    found, shuffled = gap(rows, "shuffled", benchmark, profile), estimate(rows, "shuffled", benchmark, profile)
    if found is None or shuffled is None:
        return ""
    told = f"On {found.n} video questions that do not need the order, the gap is {points(found)}"
    if found.low <= 0 <= found.high:
        return f"{told}; chance alone could explain it."
    return f"{told}, so shuffling also makes things harder to see, and a part of the gap above is not about time."

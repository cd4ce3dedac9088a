"""Examples chosen to teach: answers to one question in its showings."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from stages.data.order import Order
from stages.data.sample import Sample
from stages.evaluation.definition import Benchmark, Profile
from stages.evaluation.judgements import agreement
from stages.evaluation.metrics import Keep, slices
from stages.evaluation.predictions import PredictionRow
from stages.reporting.cards import ORDER_LABELS, Card, in_turn, is_right, is_wrong
from stages.reporting.gallery import from_prediction, kind_of, strip_of
from stages.video.frame_store import FrameReader

Answers = Mapping[Order, PredictionRow]
"""One model's scored answers to one question."""


@dataclass(frozen=True)
class Lesson:
    """Questions that one model answered in a way that teaches something.

    `status` is one of STATUSES. `count` of `asked` questions are of this kind; `cards` show some.
    """

    status: str
    count: int
    asked: int
    cards: list[Card]


def lessons(
    rows: Sequence[PredictionRow],
    benchmark: Benchmark,
    samples: Mapping[str, Sample],
    reader: FrameReader,
    profile: Profile,
    most: int,
) -> list[Lesson]:
    """What one model's answers teach.

    Empty where nothing of the kind is there.

    `only-in-order`: questions that need the order of frames, right in order and wrong in every other showing. `blind`:
    questions that are right in order, and without frames too. `judge`: answers in order that a judge and the rules
    score in different ways, of those that both score. There are up to `most` cards of each, from each kind of question
    in turn.
    """
    named = slices(benchmark)
    kinds: dict[str, tuple[Order, Keep, Callable[[Answers, Profile], bool]]] = {
        "only-in-order": ("shuffled", named.get("temporal", named["all"]), _only_in_order),
        "blind": ("blind", named["all"], _right_blind),
        "judge": ("ordered", _scored_by_both, _disagree),
    }
    found = []
    for status, (other, keep, holds) in kinds.items():
        asked = [each for each in _by_question(rows, keep, profile) if "ordered" in each and other in each]
        if chosen := [each for each in asked if holds(each, profile)]:
            shown = in_turn(chosen, [each["ordered"]["category"] for each in chosen], most)
            cards = [_card(each, other, status, samples, reader, profile) for each in shown]
            found.append(Lesson(status, len(chosen), len(asked), cards))
    return found


def _by_question(rows: Sequence[PredictionRow], keep: Keep, profile: Profile) -> list[Answers]:
    answers: dict[str, dict[Order, PredictionRow]] = defaultdict(dict)
    for row in rows:
        if keep(row) and row[profile] is not None:
            answers[row["sample_id"]][row["order"]] = row
    return list(answers.values())


def _only_in_order(answers: Answers, profile: Profile) -> bool:
    return all((is_right if order == "ordered" else is_wrong)(row[profile] or 0.0) for order, row in answers.items())


def _right_blind(answers: Answers, profile: Profile) -> bool:
    return all(is_right(answers[order][profile] or 0.0) for order in ("ordered", "blind"))


def _scored_by_both(row: PredictionRow) -> bool:
    found = row["judgement"]
    return found is not None and found["verdict"] in ("correct", "incorrect") and found["by_rules"] is not None


def _disagree(answers: Answers, profile: Profile) -> bool:
    found = agreement([judgement]) if (judgement := answers["ordered"]["judgement"]) else None
    return found is not None and found["value"] == 0


def _note(row: PredictionRow, status: str, kind: str) -> str:
    found = row["judgement"]
    if status != "judge" or found is None:
        return kind
    return f"{kind}; the rules score {found['by_rules']:.2f}, the judge says {found['verdict']}: {found['reason']}"


def _card(
    answers: Answers,
    other: Order,
    status: str,
    samples: Mapping[str, Sample],
    reader: FrameReader,
    profile: Profile,
) -> Card:
    """A question with its answer in every showing.

    The frames are shown in order and as they were in `other`.
    """
    sample = samples[answers["ordered"]["sample_id"]]
    labelled = {order: (ORDER_LABELS[order], answers[order]) for order in get_args(Order) if order in answers}
    seen = [labelled[order] for order in dict.fromkeys(("ordered", other)) if answers[order]["frame_order"]]
    strips = [strip_of(reader, sample.sample_id, label, row["frame_order"]) for label, row in seen]
    responses = [from_prediction(row, label, profile) for label, row in labelled.values()]
    return Card(sample, strips, _note(answers["ordered"], status, kind_of(sample)), responses, status=status)

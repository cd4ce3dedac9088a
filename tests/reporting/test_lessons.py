"""Examples chosen to teach: which questions they are, and what their cards show."""

from collections.abc import Mapping

from stages.data.order import Order
from stages.evaluation.judgements import VerdictName
from stages.evaluation.predictions import PredictionRow
from stages.reporting.lessons import Lesson, lessons
from stages.video.frame_store import FrameReader
from tests.evaluation.toy import TOY, scored_row, toy_sample

Shown = Mapping[Order, float | None]


def test_right_only_in_order_means_wrong_in_every_other_showing(reader: FrameReader) -> None:
    shown: dict[str, Shown] = {
        "only": {"ordered": 1.0, "shuffled": 0.0, "reversed": 0.0, "blind": 0.0},
        "also blind": {"ordered": 1.0, "shuffled": 0.0, "reversed": 0.0, "blind": 1.0},
        "partly reversed": {"ordered": 1.0, "shuffled": 0.0, "reversed": 0.5, "blind": 0.0},
        "never": {"ordered": 0.0, "shuffled": 0.0, "reversed": 0.0, "blind": 0.0},
        "not asked shuffled": {"ordered": 1.0, "blind": 0.0},
        "not scored": {"ordered": None, "shuffled": None, "reversed": None, "blind": None},
    }
    order, blind = _lessons(shown, reader)
    assert (order.status, order.count, order.asked) == ("only-in-order", 1, 4)
    [card] = order.cards
    assert (card.sample.sample_id, card.status) == ("only", "only-in-order")
    assert [strip.label for strip in card.strips] == ["in order", "shuffled"]
    assert [(each.label, each.verdict) for each in card.responses] == [
        ("in order", "right"),
        ("shuffled", "wrong"),
        ("reversed", "wrong"),
        ("without frames", "wrong"),
    ]
    assert (blind.status, blind.count, blind.asked) == ("blind", 1, 5)
    [card] = blind.cards
    assert card.sample.sample_id == "also blind"
    assert [strip.label for strip in card.strips] == ["in order"]


def test_questions_that_do_not_need_the_order_teach_nothing_about_it(reader: FrameReader) -> None:
    shown: dict[str, Shown] = {"s1": {"ordered": 1.0, "shuffled": 0.0}}
    assert _lessons(shown, reader, category="colour") == []
    assert len(_lessons(shown, reader, category="order")) == 1


def test_cards_come_from_each_kind_of_question_in_turn(reader: FrameReader) -> None:
    names = [f"{kind}{number}" for kind in "ab" for number in range(5)]
    rows = [
        scored_row(name, order, 1.0, category=name[0], n_frames=0 if order == "blind" else 8)
        for name in names
        for order in ("ordered", "blind")
    ]
    samples = {name: toy_sample(name, name[0]) for name in names}
    [found] = lessons(rows, TOY, samples, reader, "official", 4)
    assert (found.count, [card.sample.sample_id for card in found.cards]) == (10, ["a0", "b0", "a1", "b1"])


def test_answers_that_judge_and_rules_score_in_different_ways_are_shown_with_the_judges_reason(
    reader: FrameReader,
) -> None:
    verdicts: dict[str, tuple[VerdictName, float | None]] = {
        "agree": ("correct", 1.0),
        "half": ("correct", 0.5),
        "only the judge": ("correct", 0.0),
        "no rules": ("correct", None),
        "unreadable": ("unreadable", 0.0),
    }
    rows: list[PredictionRow] = [
        {
            **scored_row(name, official=1.0),
            "judgement": {"verdict": verdict, "reason": "same place", "decides": False, "by_rules": by_rules},
        }
        for name, (verdict, by_rules) in verdicts.items()
    ]
    samples = {row["sample_id"]: toy_sample(row["sample_id"]) for row in rows}
    [found] = lessons(rows, TOY, samples, reader, "official", 9)
    assert (found.status, found.count, found.asked) == ("judge", 1, 3)
    [card] = found.cards
    assert card.sample.sample_id == "only the judge"
    assert card.note == "order; the rules score 0.00, the judge says correct: same place"
    assert [strip.label for strip in card.strips] == ["in order"]


def _lessons(shown: Mapping[str, Shown], reader: FrameReader, category: str = "order") -> list[Lesson]:
    rows: list[PredictionRow] = [
        scored_row(name, order, score, category=category, n_frames=0 if order == "blind" else 8)
        for name, scores in shown.items()
        for order, score in scores.items()
    ]
    return lessons(rows, TOY, {name: toy_sample(name, category) for name in shown}, reader, "official", 9)

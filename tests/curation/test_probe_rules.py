"""Shares of right answers by showing, and the rules about them, worked out by hand."""

import pytest

from stages.curation.probe_rules import PROBE_RULES, ProbeRule, ProbeRuleParams, Share, Shares, judge, shares_of
from stages.data.order import Order
from stages.data.probed import ProbedRow
from stages.data.sample import Reject
from tests.curation.literals import CHOICE

PARAMS = ProbeRuleParams()
IMAGE = CHOICE.model_copy(update={"data_type": "image"})


def graded(order: Order, *grades: float | None) -> list[ProbedRow]:
    """Answers to `CHOICE` with these grades; None is a failed request."""
    return [
        {
            "sample_id": "s1",
            "order": order,
            "text": "",
            "status": "error" if grade is None else "ok",
            "answer": None,
            "grade": grade,
            "tokens": 0,
            "detail": "",
        }
        for grade in grades
    ]


def shares(ordered: int, shuffled: int, blind: int) -> Shares:
    """So many right answers of four in each showing."""
    return {"ordered": Share(ordered, 4), "shuffled": Share(shuffled, 4), "blind": Share(blind, 4)}


def test_shares_count_grades_above_the_bound_and_no_failed_request() -> None:
    rows = [*graded("ordered", 1.0, 0.5, 0.51, None), *graded("blind", None, None)]
    assert shares_of(rows, 0.5) == {"ordered": Share(2, 3)}
    assert shares_of(rows, 0.4) == {"ordered": Share(3, 3)}
    assert shares_of([], 0.5) == {}


@pytest.mark.parametrize(
    ("rule", "right", "detail"),
    [
        ("needs_video", (4, 4, 1), None),
        ("needs_video", (4, 4, 2), "2 of 4 answers without frames are right, not below 0.5"),
        ("needs_order", (3, 2, 4), None),
        ("needs_order", (2, 2, 0), "2 of 4 answers in order and 2 of 4 shuffled are right, not more than 0 apart"),
        ("needs_order", (1, 2, 0), "1 of 4 answers in order and 2 of 4 shuffled are right, not more than 0 apart"),
        ("learnable", (1, 0, 0), None),
        ("learnable", (4, 0, 0), "4 of 4 answers in order are right"),
        ("learnable", (0, 4, 4), "0 of 4 answers in order are right"),
    ],
)
def test_each_rule_looks_at_its_showings(rule: ProbeRule, right: tuple[int, int, int], detail: str | None) -> None:
    assert PROBE_RULES[rule](CHOICE, shares(*right), PARAMS) == detail


def test_bounds_move_the_line() -> None:
    params = ProbeRuleParams(max_blind=1.0, min_gain=0.25)
    assert PROBE_RULES["needs_video"](CHOICE, shares(0, 0, 3), params) is None
    assert PROBE_RULES["needs_video"](CHOICE, shares(0, 0, 4), params) is not None
    assert PROBE_RULES["needs_order"](CHOICE, shares(4, 3, 0), params) is not None  # 0.25 apart, not more
    assert PROBE_RULES["needs_order"](CHOICE, shares(4, 2, 0), params) is None


def test_what_is_not_known_drops_nothing_and_an_image_needs_no_order() -> None:
    assert [rule(CHOICE, {}, PARAMS) for rule in PROBE_RULES.values()] == [None, None, None]
    assert PROBE_RULES["learnable"](CHOICE, {"ordered": Share(1, 1)}, PARAMS) is None  # one answer says too little
    assert PROBE_RULES["needs_order"](CHOICE, {"ordered": Share(0, 4)}, PARAMS) is None
    assert PROBE_RULES["needs_order"](IMAGE, shares(2, 2, 0), PARAMS) is None
    assert PROBE_RULES["needs_video"](IMAGE, shares(4, 4, 4), PARAMS) is not None


def test_the_first_rule_that_drops_a_question_is_its_reason() -> None:
    always = shares(4, 4, 4)
    assert judge(CHOICE, always, PARAMS) == CHOICE
    orders: list[tuple[ProbeRule, ...]] = [("learnable", "needs_video"), ("needs_video", "learnable")]
    for rules in orders:
        verdict = judge(CHOICE, always, ProbeRuleParams(rules=rules))
        assert isinstance(verdict, Reject)
        assert (verdict.sample_id, verdict.stage, verdict.reason) == ("s1", "probe", rules[0])
    with pytest.raises(ValueError, match="each rule once"):
        ProbeRuleParams(rules=("learnable", "learnable"))

"""Spans of time: their text, and the share of answers that overlap enough."""

import pytest

from stages.evaluation import spans
from tests.evaluation.toy import scored_row


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("3.5 - 12", (3.5, 12.0)),
        ("from 3 s to 4 s", (3.0, 4.0)),
        ("00:03 - 01:02.5", (3.0, 62.5)),
        ("1:00:01 to 1:00:02", (3601.0, 3602.0)),
        ('{"time": [12.3, 25.7]}', (12.3, 25.7)),  # how OneThinker and EasyVideoR1 answer
        ("4 - 3", None),
        ("at 4", None),
        ("1, 2 or 3", None),
        ("", None),
    ],
)
def test_a_span_is_two_times_in_order(text: str, span: tuple[float, float] | None) -> None:
    assert spans.parse_span(text) == span


def test_recall_is_the_share_of_answers_that_overlap_enough() -> None:
    rows = [scored_row(f"q{index}", official=overlap) for index, overlap in enumerate((1.0, 0.7, 0.5, 0.1))]
    found = spans.recalls([*rows, scored_row("q9", "shuffled", 1.0)], "official")
    assert {name: each.value for name, each in found.items()} == {"R@0.3": 0.75, "R@0.5": 0.75, "R@0.7": 0.5}
    assert spans.recalls([], "official") == {}

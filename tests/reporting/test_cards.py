"""How an output is cut up, and how examples are chosen."""

from pathlib import Path
from typing import get_args

import pytest

from stages.data.order import Order
from stages.reporting import cards
from stages.reporting.cards import ORDER_LABELS, Response, in_turn, split_thought, spread


def test_examples_come_from_each_kind_in_turn() -> None:
    assert in_turn([1, 2, 3, 4, 5], ["b", "b", "a", "b", "c"], 4) == [3, 1, 5, 2]
    assert in_turn([], [], 3) == []


def test_examples_are_spread_from_first_to_last() -> None:
    assert spread(range(10), 4) == [0, 3, 6, 9]
    assert spread(range(2), 5) == [0, 1]
    assert spread(range(3), 1) == [0]


def test_an_output_is_cut_into_its_thought_and_the_text_after_it() -> None:
    assert split_thought("<think>it moves</think>\n<answer>B</answer>") == ("it moves", "<answer>B</answer>")
    assert split_thought("<think>it mo") == ("it mo", "")
    assert split_thought(" just B ") == ("just B", "")


@pytest.mark.parametrize(
    ("score", "verdict"), [(1.0, "right"), (1 - 1e-11, "right"), (0.0, "wrong"), (0.62, "0.62"), (None, "")]
)
def test_a_score_is_told_in_words_or_two_places(score: float | None, verdict: str) -> None:
    assert Response("x", "", None, score).verdict == verdict


def test_every_order_has_a_name_and_a_colour_on_the_page() -> None:
    assert set(get_args(Order)) <= ORDER_LABELS.keys()
    style = (Path(cards.__file__).parent / "templates" / "page.css").read_text()
    assert all(f".{order}" in style for order in get_args(Order))

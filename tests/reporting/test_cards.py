"""How an output is cut up, and how examples are chosen."""

from stages.reporting.cards import in_turn, split_thought, spread


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

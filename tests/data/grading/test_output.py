"""The answer inside an output, and whether the output is well formed."""

import pytest

from stages.data.grading import Strictness, extract_answer, is_well_formed


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>x</think><answer>B</answer>", "B"),
        ("<answer> A </answer> no, wait <answer>\nC\n</answer>", "C"),
        ("<answer>A<answer>B</answer>", "B"),
        ("<answer><answer>B</answer></answer>", "B"),
        ("<answer>A</answer><answer>B</answer><answer>", "B"),
        ("<think>maybe <answer>A</answer>?</think><answer>B</answer>", "B"),
        ("<think>so it is <answer>B", None),
        ("<answer>A</answer> then <answer>B", "A"),
        ("<answer></answer>", ""),
        ("<think>x</think><answer>\n<|begin_of_box|> it moves left <|end_of_box|></answer>", "it moves left"),
        ("<think>so it is B</think>", None),
        ("B", None),
        ("", None),
    ],
)
def test_the_answer_is_inside_the_last_closed_tag(text: str, answer: str | None) -> None:
    assert extract_answer(text) == answer


def test_the_reference_code_takes_the_first_tag_and_nothing_becomes_an_empty_answer() -> None:
    assert extract_answer("<answer>A</answer><answer>B</answer>", "reference-code") == "A"
    assert extract_answer("no tags", "reference-code") == ""


@pytest.mark.timeout(60)  # a reader that tries every split of the blanks takes minutes
@pytest.mark.parametrize("strictness", ["default", "reference-code"])
def test_a_model_that_loops_on_spaces_or_tags_is_read_in_no_time(strictness: Strictness) -> None:
    for loop in (" " * 15_000, "\n" * 15_000, "<answer>" * 500, "<answer> " * 500, "</think><answer>" * 500):
        text = f"<think>a</think><answer>{loop}"
        assert not extract_answer(text, strictness)
        assert not is_well_formed(text, strictness)


@pytest.mark.parametrize(
    ("text", "well_formed"),
    [
        ("<think>a\nb</think>\n<answer>B</answer>", True),
        ("<think>a</think><answer>B</answer>\n", True),
        ("<think></think><answer></answer>", True),
        ("well, <think>a</think><answer>B</answer>", False),
        ("<think>a</think> so <answer>B</answer>", False),
        ("<think>a</think><answer>B</answer> done", False),
        ("<think>a</think><answer>A</answer><answer>B</answer>", False),
        ("<think>a<think>b</think><answer>B</answer>", False),
        ("<think>a</think>", False),
        ("<answer>B</answer>", False),
    ],
)
def test_an_output_is_well_formed_when_it_is_one_thought_and_one_answer_and_nothing_else(
    text: str, well_formed: bool
) -> None:
    assert is_well_formed(text) is well_formed


def test_the_reference_code_accepts_repeated_tags() -> None:
    assert is_well_formed("<think>a</think><answer>A</answer><answer>B</answer>", "reference-code")

"""The option that a multiple-choice answer names."""

from pathlib import Path

import pytest

from stages.data.grading import grade, named_option
from stages.run.files import read_json

OPTIONS = ("A. right", "B. left", "C. up", "D. a red ball")


@pytest.mark.parametrize(
    "answer",
    [
        *("B", "b", "B.", "(B)", "B)", "B) left", "B. left", "b. left", "B: left", "(b) left", "Option B", "option b"),
        *("**B**", "**B. left**", "[B]", "'B'", "<b>B</b>", r"\boxed{B}", r"$\boxed{\text{B}}$", "$B$"),
        *("Ｂ", "（B）", "B。", "Ⓑ", "【B】", "B、left", "B，因为"),
        *("B - left", "B – left", "B-left", "B (left)", "B left", "B, because it does", "B\nbecause it does"),
        *("answer: B", "The answer is B", "The correct answer is B", "The best option is B. left", "Final answer: B"),
        *("ANSWER: B", "**Answer:** B", "My answer is option (B) left", "I choose B", "I think it's B", "Answer B"),
        *("答案是B", "正确答案：B", "选B", "答えはBです", "정답은 B입니다", "La respuesta es B"),
        *("left", "Left.", "'left'", "It moves to the left.", "It moves left, not right", "The ball moves left, so B"),
        *(
            "The answer is not A, it is B",
            "B, not A",
            "not A but B",
            "B is correct",
            "A is wrong, so B",
            "B, A man says",
        ),
        "Both frames show that B is the right choice",
    ],
)
def test_an_answer_names_an_option_in_many_ways(answer: str) -> None:
    assert named_option(answer, OPTIONS) == "B"
    assert grade(answer, "B", "multiple choice", OPTIONS) == 1
    assert grade(answer, "A", "multiple choice", OPTIONS) == 0


@pytest.mark.parametrize(
    "answer",
    [
        *("A or B", "A, B", "A and B", "A/B", "A, C and D", "B or maybe C", "left or right"),
        *("B. right", "not B", "both", "none of these", "blue", "E", "AB", "", "e.g. something"),
        *("A man walks", "I think so", "B-52", "Vitamin C-shaped"),
    ],
)
def test_several_options_or_none_are_no_answer(answer: str) -> None:
    assert named_option(answer, OPTIONS) is None
    assert grade(answer, "B", "multiple choice", OPTIONS) == 0


def test_an_article_is_no_option() -> None:
    assert named_option("a red ball", OPTIONS) == "D"
    assert named_option("a red ball") is None
    assert named_option("A red ball", ("A. blue", "B. green")) is None
    assert [named_option(text) for text in ("A", "a", "A.", "(A)", "A) left", "The answer is A")] == ["A"] * 6


def test_a_text_inside_a_longer_text_is_not_named() -> None:
    options = ("A. left", "B. top left", "C. moving", "D. not moving")
    assert named_option("in the top left corner", options) == "B"
    assert named_option("It is not moving.", options) == "D"
    assert named_option("It is not moving.", options[:3]) is None


def test_texts_in_scripts_without_spaces_are_found_inside_a_sentence() -> None:
    assert named_option("球向左移动", ("A. 向右", "B. 向左")) == "B"


def test_options_whose_texts_are_letters_go_by_their_own_letters() -> None:
    assert named_option("B", ("A. B", "B. A")) == "B"
    assert named_option("A. B", ("A. B", "B. A")) == "A"


def test_options_with_equal_texts_are_told_apart_by_letter_only() -> None:
    assert [named_option(text, ("A. left", "B. left")) for text in ("left", "B", "B. left")] == [None, "B", "B"]


def test_ten_options_have_letters_up_to_j() -> None:
    options = [f"{letter}. option {number}" for number, letter in enumerate("ABCDEFGHIJ")]
    assert [named_option(text, options) for text in ("J", "I.", "**j**", "The answer is I")] == ["J", "I", "J", "I"]


def test_the_reference_code_wants_the_letter_alone() -> None:
    assert [grade(text, "B", "multiple choice", OPTIONS, "reference-code") for text in ("B", "b", "(B)")] == [1, 0, 0]


def test_answers_of_a_real_model_are_graded_as_by_the_benchmark_itself(testdata: Path) -> None:
    videos = read_json(testdata / "golden" / "tempcompass_video_llava.json")["tasks"]["multi-choice"]
    items = [item for dimensions in videos.values() for items in dimensions.values() for item in items]
    assert len(items) == 537
    for item in items:
        options = item["question"].split("\n")[1:]
        assert grade(item["video-llm-prediction"], item["gt-answer"], "multiple choice", options) == item["rating"], (
            item
        )

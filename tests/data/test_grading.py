"""The one grader: extraction, well-formedness and each answer type, by hand-worked examples."""

import pytest

from stages.data.grading import Strictness, extract_answer, grade, is_well_formed, option_letter, parse_number
from stages.data.sample import ProblemType


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


@pytest.mark.parametrize(
    "text", ["B", "b", "B.", "(B)", "B)", "B) left", "B. left", "Option B", "option B.", "The answer is B", "answer: B"]
)
def test_an_option_is_named_in_many_ways(text: str) -> None:
    assert option_letter(text) == "B"


@pytest.mark.parametrize("text", ["A", "A.", "(A)", "a", "Option A", "A) left"])
def test_the_letter_a_alone_is_an_option_although_it_is_also_an_article(text: str) -> None:
    assert option_letter(text) == "A"


@pytest.mark.parametrize("text", ["a red ball", "A man walks", "blue", "", "AB", "left, option"])
def test_words_are_not_options(text: str) -> None:
    assert option_letter(text) is None


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("3", 3),
        ("-2.5", -2.5),
        ("1,000", 1000),
        ("45%", 45),
        (".5 m", 0.5),
        ("1e3", 1000),
        ("4 or 5", None),
        ("four", None),
        ("−2.5", -2.5),
        ("–7", -7),
        ("12,34,567", 1234567),
        ("3,", 3),
        ("1,5", None),
        ("10–15", None),
        ("５", 5),
    ],
)
def test_an_answer_is_a_number_when_it_holds_exactly_one(text: str, number: float | None) -> None:
    assert parse_number(text) == number


@pytest.mark.parametrize(
    ("prediction", "answer", "problem_type", "reward"),
    [
        ("A", "A", "multiple choice", 1.0),
        ("(a)", "A", "multiple choice", 1.0),
        ("B", "A", "multiple choice", 0.0),
        ("a red ball", "A", "multiple choice", 0.0),
        ("1,000", "1000", "numerical", 1.0),
        ("3.141", "3.14", "numerical", 1.0),
        ("3.15", "3.14", "numerical", 0.0),
        ("x z y", "x y", "OCR", 0.5),  # one insertion over two words
        ("p q r s", "x", "OCR", 0.0),  # word error rate 4, clipped
        ("the red ball", "the red ball", "free-form", 1.0),
        # unigrams: 2 of 2 and 2 of 3 → F1 0.8; bigrams: 1 of 1 and 1 of 2 → 2/3; longest common subsequence as unigrams
        ("red ball", "red ball moves", "free-form", (0.8 + 2 / 3 + 0.8) / 3),
        (
            "出口在左边",
            "出口在右边",
            "free-form",
            (0.8 + 0.5 + 0.8) / 3,
        ),  # 4 of 5 letters, 2 of 4 pairs, 4 in a row with one gap
        ("Синий мяч", "синий мяч", "free-form", 1.0),
        ("50", "40", "regression", 0.75),
        ("90", "40", "regression", 0.0),
        ("0", "0", "regression", 0.0),  # (0 + 1e-9) / (0 + 1e-9) = 1: the formula's own edge
        ("forty", "40", "regression", 0.0),
        (None, "A", "multiple choice", 0.0),
        ("", "x", "OCR", 0.0),
    ],
)
def test_each_answer_type_is_graded_by_its_own_rule(
    prediction: str | None, answer: str, problem_type: ProblemType, reward: float
) -> None:
    assert grade(prediction, answer, problem_type) == pytest.approx(reward, abs=1e-7)


@pytest.mark.parametrize(
    ("prediction", "answer", "problem_type", "reward"),
    [
        ("A.", "A", "multiple choice", 0.0),
        ("a", "A", "multiple choice", 0.0),
        ("1,000", "1000", "numerical", 0.0),
        ("5 m", "5", "numerical", 0.0),
        ("出口", "出口", "free-form", 0.0),
    ],
)
def test_the_reference_code_wants_answers_written_alike(
    prediction: str, answer: str, problem_type: ProblemType, reward: float
) -> None:
    assert grade(prediction, answer, problem_type, "reference-code") == reward
    assert grade(prediction, answer, problem_type) == 1.0

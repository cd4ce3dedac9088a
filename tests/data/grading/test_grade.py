"""Grades by answer type, by hand-worked examples."""

import pytest

from stages.data.grading import grade
from stages.data.sample import ProblemType


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
    assert grade(prediction, answer, problem_type, strictness="reference-code") == reward
    assert grade(prediction, answer, problem_type) == 1.0

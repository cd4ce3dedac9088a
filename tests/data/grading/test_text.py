"""Answers in words: word error rate, ROUGE, and signs that matter."""

import random

import pytest
from rouge_score.rouge_scorer import RougeScorer

from stages.data.grading import MAX_ANSWER, grade


@pytest.mark.parametrize(
    ("prediction", "answer"),
    [
        ("café", "cafe\u0301"),
        ("Việt Nam", "Vie\u0323\u0302t Nam"),
        ("grün", "gru\u0308n"),
        ("+", "+"),
        ("cat", "Cat"),
        ("well known", "well-known"),
        ("Caption A", "Caption A: it grows"),
        ("it grows", "Caption A: it grows"),
        ("हिन्दी", "हिन्दी"),
    ],
)
def test_the_same_words_are_right(prediction: str, answer: str) -> None:
    assert grade(prediction, answer, "free-form") == 1


@pytest.mark.parametrize(
    ("prediction", "answer"),
    [
        ("x > 3", "x < 3"),
        ("x = 3", "x ≠ 3"),
        ("3+4", "3-4"),
        ("6*2", "6/2"),
        ("-5", "5"),
        ("−5", "+5"),
        ("Caption A: it grows and it moves", "Caption B: it shrinks and it moves"),
        ("Option 1: the dog runs", "Option 2: the dog runs"),
        ("sentence b.", "Sentence A."),
        ("हिन्दी", "हन्दी"),
    ],
)
def test_other_operators_signs_and_labels_are_not_right(prediction: str, answer: str) -> None:
    assert grade(prediction, answer, "free-form") < 0.6


def test_letters_of_scripts_without_spaces_count_one_by_one_in_ocr() -> None:
    assert grade("出口在左", "出口在右", "OCR") == 0.75
    assert grade("出口 EXIT", "出口 EXIT", "OCR") == 1
    assert grade("出囗 EXIT", "出口 EXIT", "OCR") == pytest.approx(2 / 3)
    assert grade("สวัสดี", "สวัสดิ", "OCR") == pytest.approx(5 / 6)
    assert grade("cafe\u0301", "café", "OCR") == 1


def test_ocr_in_other_scripts_counts_words() -> None:
    assert grade("STOP SIGN", "STOP SIGN", "OCR") == 1
    assert grade("STOP SIGH", "STOP SIGN", "OCR") == 0.5


def test_an_answer_is_graded_up_to_its_limit() -> None:
    right = "word " * (MAX_ANSWER // 5)
    assert grade(right + "other " * 1000, right, "free-form") == 1


def test_the_reference_code_sees_latin_letters_and_figures_only() -> None:
    graded = [("x > 3", "x < 3"), ("café", "cafe\u0301"), ("+", "+"), ("cat", "cat")]
    assert [round(grade(*pair, "free-form", strictness="reference-code"), 2) for pair in graded] == [1, 0, 0, 0.67]
    assert grade("出口在左", "出口在右", "OCR", strictness="reference-code") == 0


def test_rouge_equals_that_of_its_package() -> None:
    words = ["the", "red", "balls", "moving", "left", "moved", "5", "a"]
    rng = random.Random(0)
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)
    for _ in range(300):
        given, right = (" ".join(rng.choices(words, k=rng.randint(1, 12))) for _ in range(2))
        expected = sum(score.fmeasure for score in scorer.score(right, given).values()) / 3
        assert grade(given, right, "free-form", strictness="reference-code") == expected

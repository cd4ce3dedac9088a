"""The one grader, for rewards, filtering and evaluation.

It finds the answer inside an output, says whether the output is well formed, and scores the answer.
"""

import re
import string
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import jiwer

from stages.data.sample import ProblemType

if TYPE_CHECKING:
    from rouge_score.rouge_scorer import RougeScorer

Strictness = Literal["default", "reference-code"]

_ANSWER = re.compile(r"<answer>((?:(?!<answer>).)*?)</answer>", re.DOTALL)
_FIRST_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_WELL_FORMED = re.compile(
    r"<think>(?:(?!</?think>|</?answer>).)*</think>\s*<answer>(?:(?!</?think>|</?answer>).)*</answer>\s*", re.DOTALL
)
_REFERENCE_FORMAT = re.compile(r"<think>.*?</think>\s*<answer>.*?</answer>", re.DOTALL)
# An option letter alone or before punctuation: "B", "b", "B.", "(B)", "B) left", "Option B", "answer: B". A lower-case letter counts only
# when it is the whole answer, because the article in "a red ball" is not option A.
_LETTER = re.compile(
    r"\(?([A-Za-z])[.):]?|(?:(?i:the )?(?i:answer|option|choice)(?i: is)?:?\s*)?\(?([A-Z])\)?(?:[.):].*)?", re.DOTALL
)
# A comma separates groups of digits, of which the last has three: "1,000", "12,34,567", but not "1,5". Typeset minus signs count.
_NUMBER = re.compile(r"[-+−–]?(?:(?:\d{1,3}(?:,\d{2,3})*,\d{3}(?!\d)|\d+)\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|(?:(?![\u3040-\u30ff\u3400-\u9fff])[^\W_])+")
_MINUS = str.maketrans("−–", "--", ",")


def extract_answer(text: str, strictness: Strictness = "default") -> str | None:
    """The text inside the last closed `<answer>` tag, stripped, or None without one.

    The reference code takes the first tag, and "" without one.
    """
    if strictness == "reference-code":
        match = _FIRST_ANSWER.search(text)
        return match.group(1).strip() if match else ""
    answers = _ANSWER.findall(text)
    return answers[-1].strip() if answers else None


def is_well_formed(text: str, strictness: Strictness = "default") -> bool:
    """Whether the whole output is `<think>…</think><answer>…</answer>` with each tag once (paper, §2).

    The reference code also accepts tags inside the thought or the answer.
    """
    pattern = _REFERENCE_FORMAT if strictness == "reference-code" else _WELL_FORMED
    return pattern.fullmatch(text) is not None


def grade(prediction: str | None, answer: str, problem_type: ProblemType, strictness: Strictness = "default") -> float:
    """The accuracy reward in [0, 1] of an extracted answer, by answer type (paper, §3); 0 without an answer.

    With `strictness="reference-code"` letters and numbers must be written alike, as in the released code.
    """
    if prediction is None or not prediction.strip():
        return 0.0
    match problem_type:
        case "multiple choice":
            return float(_same_letter(prediction, answer, strictness))
        case "numerical":
            return float(_same_number(prediction, answer, strictness))
        case "OCR":
            return 1.0 - word_error_rate(prediction, answer)
        case "free-form":
            return rouge(prediction, answer, strictness)
        case "regression":
            return relative_accuracy(prediction, answer, strictness)


def option_letter(text: str) -> str | None:
    """The option letter that an answer names, in upper case, or None.

    It reads "B", "b", "B.", "(B)", "B) left" and "Option B".
    """
    match = _LETTER.fullmatch(text.strip())
    return (match.group(1) or match.group(2)).upper() if match else None


def lettered(options: Sequence[str]) -> list[str]:
    """Options as "A. …" lines; options that have their letters in order stay as they are."""
    if all(option_letter(option) == letter for option, letter in zip(options, string.ascii_uppercase, strict=False)):
        return list(options)
    return [f"{letter}. {option}" for letter, option in zip(string.ascii_uppercase, options, strict=False)]


def letter_of(answer: str, options: Sequence[str]) -> str:
    """The letter of the option with the text `answer`, or `answer` itself when no option has it."""
    texts = [option.strip() for option in options]
    return string.ascii_uppercase[texts.index(answer.strip())] if answer.strip() in texts else answer


def parse_number(text: str, strictness: Strictness = "default") -> float | None:
    """The number in an answer, or None unless it holds exactly one.

    Thousands separators, units and percent signs are ignored. For the reference code the answer must be the bare number.
    """
    if strictness == "reference-code":
        try:
            return float(text.replace(",", "").strip())
        except ValueError:
            return None
    found = numbers_in(text)
    return found[0] if len(found) == 1 else None


def numbers_in(text: str) -> list[float]:
    """All numbers in a text, in order."""
    return [float(number.translate(_MINUS)) for number in _NUMBER.findall(text)]


def word_error_rate(prediction: str, answer: str) -> float:
    """Word error rate of `prediction` against `answer`, clipped to [0, 1]."""
    if not answer.split():
        return float(bool(prediction.split()))
    return min(1.0, float(jiwer.wer(answer, prediction)))


def rouge(prediction: str, answer: str, strictness: Strictness = "default") -> float:
    """Mean F1 of ROUGE-1, ROUGE-2 and ROUGE-L over stemmed words.

    The reference code sees a-z and 0-9 only, so answers in other scripts score 0.
    """
    scores = _rouge_scorer(strictness).score(answer, prediction)
    return sum(score.fmeasure for score in scores.values()) / len(scores)


def relative_accuracy(prediction: str, answer: str, strictness: Strictness = "default") -> float:
    """1 − min(1, (|prediction − answer| + 1e-9) / (|answer| + 1e-9)); 0 when either is no number."""
    predicted, target = parse_number(prediction, strictness), parse_number(answer, strictness)
    if predicted is None or target is None:
        return 0.0
    return 1.0 - min(1.0, (abs(predicted - target) + 1e-9) / (abs(target) + 1e-9))


def _same_letter(prediction: str, answer: str, strictness: Strictness) -> bool:
    if strictness == "reference-code":
        return prediction.strip() == answer.strip()
    letter = option_letter(prediction)
    return letter is not None and letter == option_letter(answer)


def _same_number(prediction: str, answer: str, strictness: Strictness) -> bool:
    if strictness == "reference-code" and ("." in prediction or "," in prediction) != ("." in answer or "," in answer):
        return False
    predicted, target = parse_number(prediction, strictness), parse_number(answer, strictness)
    return predicted is not None and target is not None and round(predicted, 2) == round(target, 2)


@lru_cache(maxsize=2)
def _rouge_scorer(strictness: Strictness) -> "RougeScorer":
    # The import takes seconds, and most callers grade no free text.
    from rouge_score.rouge_scorer import RougeScorer
    from rouge_score.tokenizers import DefaultTokenizer

    latin = DefaultTokenizer(use_stemmer=True)

    class EveryScript:
        """Stemmed words as by default, words of other scripts, and single Chinese and Japanese letters."""

        def tokenize(self, text: str) -> list[str]:
            parts = _WORD.findall(text.lower())
            return [word for part in parts for word in (latin.tokenize(part) if part.isascii() else [part])]

    return RougeScorer(
        ["rouge1", "rouge2", "rougeL"], tokenizer=latin if strictness == "reference-code" else EveryScript()
    )

"""Answers in words: their plain form, word error rate and ROUGE."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import jiwer
from rapidfuzz.distance import LCSseq

from stages.data.grading.output import Strictness

if TYPE_CHECKING:
    from rouge_score.tokenizers import DefaultTokenizer

MAX_ANSWER = 2_000
"""Characters of an answer that are graded; the rest is cut off."""

# Letters of scripts that put no spaces between words: Thai, Lao, Tibetan, Burmese, Khmer, Japanese, Chinese.
_SPACELESS = (
    r"\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    r"\U00020000-\U0003ffff"
)
_ONE_SPACELESS = re.compile(f"([{_SPACELESS}])")
# Marks that belong to the letter before them; Python's \w leaves them out.
_MARKS = r"\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0670\u0900-\u0963\u0970-\u0dff"
_IN_WORD = rf"(?:(?![{_SPACELESS}])[^\W_]|[{_MARKS}])"
_TOKEN = re.compile(
    rf"(?<![\w)\]])[-+]?\d+(?:[.,]\d+)*(?!{_IN_WORD})"  # a number with its sign
    rf"|[{_SPACELESS}]|{_IN_WORD}+"
    r"|[+×÷^=≠<>≤≥±]|(?<=\d)[-*/]|(?<=\d )[-*/]|[-*/](?=\s?\d)"  # operators; "well-known" and "**" hold none
)
# "Caption A: a dog runs", "Option 2", "Sentence B."
_LABELLED = re.compile(
    r"(?:caption|option|sentence|choice|description|statement|answer)\s+(?P<label>[a-z]|\d{1,2})"
    r"(?:\s*[.:)-]\s*(?P<text>.*)|$)",
    re.DOTALL,
)
_COMMAND = re.compile(r"\\(?:boxed|fbox|text|textbf|textit|mathrm|mathbf|mathit|bf|rm|displaystyle)\b\s*")
_LATEX_MARKS = re.compile(r"\\[()\[\]]|\$+")
_MARKUP = re.compile(r"\*\*|__|`|</?(?:b|i|em|strong|u|span|p|br)\s*/?>")
_MINUS = str.maketrans("−–", "--")


def plain(text: str) -> str:
    r"""An answer without emphasis, LaTeX frames and odd widths.

    "**Ｂ**" and "$\boxed{B}$" become "B".
    """
    text = unicodedata.normalize("NFKC", text[:MAX_ANSWER])
    text, framed = _COMMAND.subn("", _MARKUP.sub("", text))
    if framed:
        text = text.replace("{", "").replace("}", "")
    return " ".join(_LATEX_MARKS.sub("", text).split())


def same_case(text: str) -> str:
    """The text in lower case."""
    return text.lower()


def word_error_rate(prediction: str, answer: str, strictness: Strictness = "default") -> float:
    """Word error rate of `prediction` against `answer`, at most 1.

    Letters of scripts without spaces count as words, so there it is the character error rate; for the reference code
    they do not.
    """
    prediction, answer = prediction[:MAX_ANSWER], answer[:MAX_ANSWER]
    if strictness == "default":
        prediction, answer = _spaced(prediction), _spaced(answer)
    if not answer.split():
        return float(bool(prediction.split()))
    return min(1.0, float(jiwer.wer(answer, prediction)))


def free_form(prediction: str, answer: str, strictness: Strictness = "default") -> float:
    """The grade of a free-form answer: ROUGE, with labels and equality first.

    The same words give 1. Of answers such as "Caption A: …" the labels decide where both have one. The reference code
    knows neither rule, and sees a-z and 0-9 only.
    """
    if strictness == "reference-code":
        return mean_rouge(*(_stemmer().tokenize(text[:MAX_ANSWER]) for text in (prediction, answer)))
    prediction, answer = _comparable(prediction), _comparable(answer)
    if prediction == answer:
        return 1.0
    predicted, right = _LABELLED.fullmatch(prediction), _LABELLED.fullmatch(answer)
    if predicted and right:
        return float(predicted["label"] == right["label"])
    return rouge(_unlabelled(prediction, predicted), _unlabelled(answer, right))


def rouge(prediction: str, answer: str) -> float:
    """Mean F1 of ROUGE-1, ROUGE-2 and ROUGE-L, or 1 for equal words.

    Words are stemmed; numbers with their signs, and operators, count as words. The same words in the same order give 1,
    also a single word.
    """
    given, right = _tokens(prediction), _tokens(answer)
    return 1.0 if given == right and given else mean_rouge(given, right)


def mean_rouge(given: Sequence[str], right: Sequence[str]) -> float:
    """Mean F1 of ROUGE-1, ROUGE-2 and ROUGE-L, as in the package rouge-score."""
    longest = LCSseq.similarity(given, right)
    scores = [_ngram_f1(given, right, 1), _ngram_f1(given, right, 2), _f1(longest, len(given), len(right))]
    return sum(scores) / len(scores)


def _comparable(text: str) -> str:
    """Text in NFC, lower case and single spaces, up to MAX_ANSWER."""
    return " ".join(unicodedata.normalize("NFC", text[:MAX_ANSWER]).lower().split())


def _unlabelled(text: str, labelled: re.Match[str] | None) -> str:
    return labelled["text"] or text if labelled else text


def _spaced(text: str) -> str:
    """Text in NFC with spaces around letters of scripts that have none."""
    return _ONE_SPACELESS.sub(r" \1 ", unicodedata.normalize("NFC", text)).strip()


def _tokens(text: str) -> list[str]:
    """Stemmed words, as rouge-score stems them, numbers with their signs, and operators."""
    found = _TOKEN.findall(unicodedata.normalize("NFC", text[:MAX_ANSWER]).lower().translate(_MINUS))
    return [word for token in found for word in (_stemmed(token) if token.isascii() and token.isalnum() else [token])]


@lru_cache(maxsize=100_000)
def _stemmed(word: str) -> list[str]:
    return _stemmer().tokenize(word)


def _ngram_f1(given: Sequence[str], right: Sequence[str], n: int) -> float:
    grams = [Counter(zip(*(words[start:] for start in range(n)), strict=False)) for words in (given, right)]
    return _f1((grams[0] & grams[1]).total(), grams[0].total(), grams[1].total())


def _f1(common: int, given: int, right: int) -> float:
    if not common:
        return 0.0
    precision, recall = common / given, common / right
    return 2 * precision * recall / (precision + recall)


@lru_cache(maxsize=1)
def _stemmer() -> "DefaultTokenizer":
    from rouge_score.tokenizers import DefaultTokenizer  # takes seconds, and most callers grade no free text

    return DefaultTokenizer(use_stemmer=True)

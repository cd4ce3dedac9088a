"""Text as the rules compare it: words, n-grams and writing systems."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

_THOUGHT = re.compile(r"<think>(.*?)</think>", re.DOTALL)
_PUNCTUATION = re.compile(r"[\s.,;:!?\"'()\[\]]+")
_SAME_SCRIPT = {
    "HIRAGANA": "CJK",
    "KATAKANA": "CJK",
    "KATAKANA-HIRAGANA": "CJK",
    "IDEOGRAPHIC": "CJK",
    "GREEK": "LATIN",
}


def thought_of(text: str) -> str:
    """The words inside `<think>`, stripped; "" without any."""
    match = _THOUGHT.search(text)
    return match.group(1).strip() if match else ""


def words(text: str) -> list[str]:
    """Lower-case words of Unicode-normalised text.

    A run of letters without spaces, as in Chinese, counts as one word.
    """
    return unicodedata.normalize("NFKC", text).lower().translate(_WORD_LETTERS).split()


class _WordLetters(dict[int, str]):
    """A table for `str.translate` that keeps letters, marks and digits.

    All else becomes a space. Words of many scripts would fall apart without their marks.
    """

    def __missing__(self, code: int) -> str:
        belongs = unicodedata.category(chr(code))[0] in "LMN" or chr(code) == "_"
        self[code] = chr(code) if belongs else " "
        return self[code]


_WORD_LETTERS = _WordLetters()


def plain(text: str) -> str:
    """Unicode-normalised lower-case text without the punctuation of sentences.

    Operators stay, so that 3+4 differs from 3-4.
    """
    return _PUNCTUATION.sub(" ", unicodedata.normalize("NFKC", text).lower()).strip()


def ngrams(items: Sequence[str], n: int) -> list[tuple[str, ...]]:
    """Every run of `n` neighbours, in order; none for n = 0."""
    return [tuple(items[start : start + n]) for start in range(len(items) - n + 1)] if n else []


def scripts(text: str) -> Counter[str]:
    """How many letters of a text belong to which writing system."""
    counts: Counter[str] = Counter()
    for letter, count in Counter(unicodedata.normalize("NFKC", text)).items():
        if letter.isalpha():
            counts[_script(letter)] += count
    return counts


@lru_cache(maxsize=4096)
def _script(letter: str) -> str:
    """A letter's writing system by its Unicode name, such as CYRILLIC.

    Greek counts as LATIN, for it stands in formulas. The three scripts of Japanese count as CJK.
    """
    name = unicodedata.name(letter, "UNKNOWN").split()[0]
    return _SAME_SCRIPT.get(name, name)

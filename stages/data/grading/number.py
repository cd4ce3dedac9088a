"""Answers that are numbers: separators, fractions, powers of ten, units and LaTeX."""

import logging
import math
import re
import unicodedata

from stages.data.grading.output import Strictness
from stages.data.grading.text import MAX_ANSWER

RELATIVE_TOLERANCE = 0.05
"""The largest error of a right answer, as a part of the right number."""
MAX_FORMULA = 200
"""Characters of a formula that is evaluated."""

_MINUS = str.maketrans("−–⁻⁄", "---/")
_SUPERSCRIPTS = re.compile(r"[⁺⁻]?[⁰¹²³⁴-⁹]+")
_VULGAR_FRACTION = re.compile(r"([¼-¾⅐-⅞])")
_LATEX_MARKS = re.compile(r"\\[,;:! ()\[\]]|\\(?:left|right|text|mathrm|mathbf|boxed|operatorname)(?![A-Za-z])|[$~]")
_LATEX_FRACTION = re.compile(
    r"\\[dt]?frac\s*(?:\{\s*(\d+(?:\.\d+)?)\s*\}\s*\{\s*(\d+(?:\.\d+)?)\s*\}|(\d)\s*(\d)(?!\d))"
)
_MINUS_APART = re.compile(r"(?<![\w.)\]}])-\s+(?=(?:\d+\s+)?[\d.]+\s?/\s?[\d.])")  # "- 3/2", also from "-½"
_EXPONENT = r"\s*(?:\^|\*\*)\s*(?:\{\s*([-+]?\d{1,3})\s*\}|([-+]?\d{1,3}))(?!\d)"
_TIMES_POWER = re.compile(rf"(?<=\d)\s*(?:[×x*·⋅]|\\times(?![A-Za-z])|\\cdot(?![A-Za-z]))\s*10{_EXPONENT}")
_POWER_OF_TEN = re.compile(rf"(?<![\d.,])10{_EXPONENT}")
# "1,000", "12,34,567", "1 000" and "1'000", but not "1,5".
_COMMAS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{2,3})*,\d{3}(?!\d)")
_BLANKS = re.compile(r"(?<![\d.,])(?<!\d[ '’])\d{1,3}(?:[ '’]\d{3})+(?!\d)")
# A unit after a number, whose digits are none of the answer's: "m2", "cm^2", "m/s^2", "m s^{-2}".
_UNIT_PART = r"[A-Za-zµμΩ°]+(?:\^?\{?-?\d{1,2}\}?(?![\d.]))?"
_UNIT = re.compile(
    rf"(?<=\d)\s?(?![eE][-+]?\d|[xX]\s?\d){_UNIT_PART}(?:\s?[/·*]\s?{_UNIT_PART}|\s[A-Za-zµμΩ°]+\^\{{?-?\d{{1,2}}\}}?)*"
)
_PLAIN = r"(?:\d+\.?\d*|\.\d+)"
_NUMBER = re.compile(
    rf"(?P<sign>[-+]?)(?:(?:(?P<whole>\d+)\s+)?(?P<over>{_PLAIN})\s?/\s?(?P<under>{_PLAIN})(?![\d/])"
    rf"|(?P<plain>{_PLAIN}(?:[eE][-+]?\d+)?))"
)
# A formula: numbers, basic operators, roots, π and small powers.
_FORMULA = re.compile(
    r"(?:\d|[-+*/().,{}\s]|\\(?:sqrt|[dt]?frac|pi|times|cdot|div)(?![A-Za-z])|[√π×·÷]"
    r"|\^\s*(?:\{\s*-?\d{1,2}\s*\}|\d{1,2}(?!\d)))+"
)
_ROOT_OR_PI = re.compile(r"√|π|\\(?:sqrt|pi)(?![A-Za-z])")
_IS_FORMULA = re.compile(rf"{_ROOT_OR_PI.pattern}|\\[dt]?frac|\^")
_STACKED_POWER = re.compile(r"\^\s*\{?\s*-?\d+\s*\}?\s*\^")
_MAX_POWERS = 3  # in one formula

# math-verify warns that its time limit is off. It works in the main thread only; short formulas need none.
logging.getLogger("math_verify").setLevel(logging.ERROR)


def parse_number(text: str, strictness: Strictness = "default") -> float | None:
    r"""The number in an answer, or None unless it holds exactly one.

    It reads "1,000", "1 000", "24/7", "1 1/2", "1.5 × 10^3", "\frac{1}{2}", and formulas with roots and π. Units, their
    powers ("5 cm^2") and percent signs are ignored. For the reference code the answer must be the bare number.
    """
    if strictness == "reference-code":
        return _bare_number(text)
    found = numbers_in(text)
    if len(found) == 1 and not _ROOT_OR_PI.search(text):
        return found[0]
    return _formula(text) if _IS_FORMULA.search(text) else None


def numbers_in(text: str) -> list[float]:
    """All finite numbers in a text, in order."""
    values = (_value(found) for found in _NUMBER.finditer(_simplified(text)))
    return [value for value in values if value is not None and math.isfinite(value)]


def same_number(prediction: str, answer: str, strictness: Strictness = "default") -> bool:
    """Whether both are the same number to two decimals, within RELATIVE_TOLERANCE.

    The reference code has no such tolerance. It wants separators in both answers or in none.
    """
    if strictness == "reference-code" and ("." in prediction or "," in prediction) != ("." in answer or "," in answer):
        return False
    predicted, right = parse_number(prediction, strictness), parse_number(answer, strictness)
    if predicted is None or right is None or round(predicted, 2) != round(right, 2):
        return False
    return strictness == "reference-code" or abs(predicted - right) <= max(RELATIVE_TOLERANCE * abs(right), 1e-9)


def relative_accuracy(prediction: str, answer: str, strictness: Strictness = "default") -> float:
    """1 − min(1, (|prediction − answer| + 1e-9) / (|answer| + 1e-9)).

    It is 0 when one of the two is no number.
    """
    predicted, right = parse_number(prediction, strictness), parse_number(answer, strictness)
    if predicted is None or right is None:
        return 0.0
    return 1.0 - min(1.0, (abs(predicted - right) + 1e-9) / (abs(right) + 1e-9))


def _bare_number(text: str) -> float | None:
    try:
        return float(text.replace(",", "").strip())
    except ValueError:
        return None


def _simplified(text: str) -> str:
    """The text with numbers as `_NUMBER` reads them."""
    text = _SUPERSCRIPTS.sub(lambda found: "^" + unicodedata.normalize("NFKC", found[0]), text[:MAX_ANSWER])
    text = unicodedata.normalize("NFKC", _VULGAR_FRACTION.sub(r" \1 ", text)).translate(_MINUS)
    text = _LATEX_FRACTION.sub(r" \1\3/\2\4 ", _LATEX_MARKS.sub(" ", text))
    text = _POWER_OF_TEN.sub(r"1e\1\2", _TIMES_POWER.sub(r"e\1\2", text))
    text = _BLANKS.sub(_digits_alone, _COMMAS.sub(_digits_alone, text)).replace("{", " ").replace("}", " ")
    text = _MINUS_APART.sub("-", " ".join(text.split()))
    return _UNIT.sub(lambda found: re.sub(r"\^?\s*-?\d", "", found[0]), text)


def _digits_alone(found: re.Match[str]) -> str:
    return re.sub(r"\D", "", found[0])


def _value(found: re.Match[str]) -> float | None:
    """The number of a match, None for a fraction over zero."""
    if found["plain"]:
        return float(found["sign"] + found["plain"])
    over, under = float(found["over"]), float(found["under"])
    if not under:
        return None
    value = float(found["whole"] or 0) + over / under
    return -value if found["sign"] == "-" else value


def _formula(text: str) -> float | None:
    """The value of a formula such as "√2" or "π/4", or None."""
    text = _LATEX_MARKS.sub(" ", text.strip()).strip()
    if (
        len(text) > MAX_FORMULA
        or text.count("^") > _MAX_POWERS
        or _STACKED_POWER.search(text)
        or not _FORMULA.fullmatch(text)
    ):
        return None
    from math_verify import LatexExtractionConfig, parse  # takes a second, and few answers are formulas

    text = re.sub(
        r"√\s*(\d+|\{)", lambda found: r"\sqrt" + (found[1] if found[1] == "{" else "{" + found[1] + "}"), text
    )
    text = re.sub(r"\^\s*(\d{1,2})", r"^{\1}", text).replace("π", r"\pi ").replace("×", r"\times ").replace("÷", "/")
    found = parse(f"${text}$", extraction_config=[LatexExtractionConfig()], parsing_timeout=0)
    try:
        value = float(found[0]) if found and not isinstance(found[0], str) else math.nan
    except (TypeError, ValueError, OverflowError, ZeroDivisionError):  # a formula that is no real number
        return None
    return value if math.isfinite(value) else None

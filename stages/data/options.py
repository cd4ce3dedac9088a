"""The options of a multiple-choice question, each with its own letter.

Sources letter their options in many ways, also out of order or as a subset. A letter is never parted from its text:
where options and answer can be read in two ways, they are refused.
"""

import re
import string
import unicodedata
from collections.abc import Sequence
from typing import Literal, NamedTuple

from stages.data.sample import Unusable

LETTERS = string.ascii_uppercase
_NUMBERS = tuple(str(number) for number in range(1, 11))
_ALPHABETS: tuple[Sequence[str], ...] = (
    LETTERS,
    _NUMBERS,
    ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X"),
    "АБВГДЕЖЗИК",
    "ΑΒΓΔΕΖΗΘΙΚ",
    "一二三四五六七八九十",
    "甲乙丙丁戊己庚辛壬癸",
    "アイウエオカキクケコ",
    "あいうえおかきくけこ",
    "가나다라마바사아자차",
    "אבגדהוזחטי",
    "ابجدهوزحطي",
)

_LETTER = r"(?P<letter>[^\W\d_]|[IVXivx]{2,4})"  # one letter of any script, or a Roman numeral
_NUMBER = r"(?P<number>\d{1,2})"
_SIGNS = "[①-⑳⑴-⒇⒈-⒛⒜-⒵Ⓐ-ⓩ㈠-㈩㊀-㊉]"
_ENCLOSED = f"(?P<enclosed>{_SIGNS})"
_OPEN, _CLOSE = r"(\[{（［｛【〔〈《「『", r")\]}）］｝】〕〉》」』"
_MARK = r".):\]．）：］、。｡､】」』"
_PREFIX = r"(?:(?i:(?:the\s+)?(?:correct\s+)?(?:option|choice|answer)(?:\s+is)?)\s*[:：]?\s*|选项|選項|答案是?)?[*_]*"
_TEXT = r"[*_]*\s*(?P<text>.*)"
_MARKED = tuple(
    re.compile(_PREFIX + label + _TEXT, re.DOTALL)
    for label in (
        rf"[{_OPEN}]\s*(?:{_LETTER}|{_NUMBER})\s*[{_CLOSE}][*_]*\s*[{_MARK}]?",  # "(B) left", "【2】left"
        rf"{_ENCLOSED}\s*[{_MARK}]?",  # "② left"
        rf"{_LETTER}[*_]*\s?[{_MARK}](?!\w\.)(?![\\/])",  # "B. left", but not "U.S. Army" or "C:\"
        rf"{_NUMBER}[*_]*\s?[{_MARK}](?!\d)",  # "2、left", but not "1.5" or "10:30"
    )
)
_HYPHENED = re.compile(rf"(?:{_LETTER}|{_NUMBER})\s*[-–—−~,，;；/=]\s*(?!\d){_TEXT}", re.DOTALL)
_SPACED = re.compile(rf"{_LETTER}\s+{_TEXT}", re.DOTALL)
SetOffBy = Literal["mark", "hyphen", "blank"]
_FORMS: tuple[tuple[SetOffBy, re.Pattern[str]], ...] = (
    *(("mark", form) for form in _MARKED),
    ("hyphen", _HYPHENED),
    ("blank", _SPACED),
)
_BARE_FORMS = (*_MARKED, re.compile(rf"{_PREFIX}(?:{_LETTER}|{_NUMBER})[*_]*"))
_USUAL = re.compile(r"([A-Z])[.)]\s.+", re.DOTALL)
_STANDARD = re.compile(r"\(?[A-Z]\)?(?:[.):].*)?", re.DOTALL)  # shown as it is
_THING = re.compile(rf"{_SIGNS}|\d+|[^\W\d_]+")  # "2->1->3" names three


class _Label(NamedTuple):
    """What stands before an option's text, as "B" in "B. left".

    symbol: in one form, so that "ｂ", "(B)" and "B." are "B". set_off_by: what follows the letter. A mark or brackets
    show that it is a label. A hyphen or a blank may also belong to the text, as in "B-52" and "A dog".
    """

    symbol: str
    text: str
    set_off_by: SetOffBy


class _Labelled(NamedTuple):
    """Options that all have labels of one alphabet.

    letters: the Latin ones that the labels stand for.
    """

    options: Sequence[str]
    alphabet: Sequence[str]
    letters: list[str]
    texts: list[str]


def letter_options(options: Sequence[str], answer: str) -> tuple[tuple[str, ...], str]:
    """The options as lines "A.

    …", in their order, and the letter of the right one.

    Options keep the letters they come with; options without letters get them by position. Lines that have their letter
    in a usual form stay as they are. The answer is a letter, an option's text, or both. Unusable where that has
    no reading or more than one.
    """
    options, answer = [option.strip() for option in options], answer.strip()
    usual = [found[1] for option in options if (found := _USUAL.fullmatch(option))]
    if len(usual) == len(set(usual)) == len(options) and answer in usual:  # nearly all records: nothing to find out
        return tuple(options), answer
    labelled = _read_labels(options)
    if labelled is None:
        right = _letter_by_position(options, answer)
        return tuple(f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False)), right
    right = _letter_by_label(labelled, answer)
    if all(_STANDARD.fullmatch(option) for option in options):
        return tuple(options), right
    lines = zip(labelled.letters, labelled.texts, strict=True)
    return tuple(f"{letter}. {text}" if text else letter for letter, text in lines), right


def check_one_right(options: Sequence[str], right: str) -> None:
    """Unusable where another option has the same text as the right one.

    `options` and `right` are what `letter_options` returns.
    """
    texts = {option[:1]: option[2:].strip() for option in options if _USUAL.fullmatch(option)}
    if same := [letter for letter, text in texts.items() if letter != right and text == texts.get(right)]:
        raise Unusable("ambiguous options", f"options {right} and {same[0]} are both {texts[right]!r}"[:500])


def _read_labels(options: Sequence[str]) -> _Labelled | None:
    """The options' labels; None where the options have none in common.

    Numbers, and labels that no mark sets off, must be the first ones of their alphabet, in any order. Equal texts, as
    in "1. Mai" and "2. Mai", show that labels other than letters are text.
    """
    labels = [label for label in _labels(options) if label]
    texts = [label.text for label in labels]
    if not labels or len(labels) < len(options) or len({label.set_off_by for label in labels}) > 1:
        return None
    texts_differ = not any(texts) or len({_plain(text) for text in texts}) == len(texts)
    for alphabet in _ALPHABETS:
        found = [_index(label.symbol, alphabet) for label in labels]
        if -1 in found or len(set(found)) < len(found):
            continue
        marked = labels[0].set_off_by == "mark"
        are_first = sorted(found) == list(range(len(found)))
        if (marked and alphabet is LETTERS) or (texts_differ and (are_first or (marked and alphabet is not _NUMBERS))):
            return _Labelled(options, alphabet, [LETTERS[index] for index in found], texts)
    return None


def _letter_by_label(labelled: _Labelled, answer: str) -> str:
    """The letter of the answer among options that have labels."""
    options, alphabet, letters, texts = labelled
    by_text = _matches(answer, options) or _matches(answer, texts)
    if (bare := _bare_symbol(answer)) and (letter := _letter(bare, alphabet)) in letters:
        if by_text and alphabet is not LETTERS and letters[by_text[0]] != letter:
            raise _two_readings(answer, options)
        return letter
    if bare in letters and letters == list(LETTERS[: len(letters)]):  # "B" for options 1), 2), 3)
        return bare
    if len(by_text) > 1:
        raise _two_readings(answer, options)
    if by_text:
        return letters[by_text[0]]
    label = _label(answer)
    if label is None or (letter := _letter(label.symbol, alphabet)) not in letters:
        raise _not_among(answer, options)
    named = _matches(label.text, texts)
    if named and letters.index(letter) not in named:
        raise _two_readings(answer, options)
    if not named and (label.set_off_by != "mark" or _bare_symbol(label.text)):  # "A, B" names two options
        raise _not_among(answer, options)
    return letter


def _letter_by_position(options: Sequence[str], answer: str) -> str:
    """The letter of the answer among options that get theirs by position."""
    labels = _labels(options)
    letters = [label and _letter_in_any_alphabet(label) for label in labels]
    positions = list(LETTERS[: len(options)])
    if any(label and label.text and label.set_off_by == "mark" and label.symbol in positions for label in labels):
        raise Unusable("ambiguous options", f"not each of {list(options)} has a letter of its own"[:500])
    by_text, bare = _matches(answer, options), _bare_symbol(answer)
    if len(by_text) > 1 or (by_text and bare in positions and bare != positions[by_text[0]]):
        raise _two_readings(answer, options)
    if by_text:
        return positions[by_text[0]]
    if bare is None or bare not in positions:
        raise _not_among(answer, options)
    for position, label, letter in zip(positions, labels, letters, strict=True):
        unknown_label = label and label.set_off_by == "mark" and letter is None
        if unknown_label or (letter == bare and position != bare):
            raise _two_readings(answer, options)
    return bare


def _labels(options: Sequence[str]) -> list[_Label | None]:
    """The label of each option, None for one without.

    Options that are orders of the same things, as "2->1->3" and "1->3->2", have none: the first thing is no label.
    """
    labels = [_label(option) for option in options]
    things = {tuple(sorted(_THING.findall(option))) for option in options}
    is_marked = any(label and label.set_off_by == "mark" for label in labels)
    # "1) 2" and "2) 1" may be labels, so two things behind a mark show nothing.
    are_orders = len(options) > 1 and len(things) == 1 and (not is_marked or len(next(iter(things))) > 2)
    return [None] * len(options) if are_orders else labels


def _label(line: str) -> _Label | None:
    """The label at the start of a line, if any.

    A Latin letter alone is a label without text.
    """
    if len(line) == 1 and (symbol := _normal(line)) in LETTERS:
        return _Label(symbol, "", "mark")
    for set_off_by, form in _FORMS:
        if (found := form.fullmatch(line)) and (text := found["text"].strip()):
            return _Label(_symbol(found), text, set_off_by)
    return None


def _bare_symbol(answer: str) -> str | None:
    """The label that is the whole answer, as in "(b)"."""
    for form in _BARE_FORMS:
        if (found := form.fullmatch(answer)) and not found.groupdict().get("text"):
            return _symbol(found)
    return None


def _symbol(found: re.Match[str]) -> str:
    groups = found.groupdict()
    return _normal(groups.get("letter") or groups.get("number") or groups["enclosed"])


def _normal(symbol: str) -> str:
    return unicodedata.normalize("NFKC", symbol).upper().strip("().")


def _letter(symbol: str, alphabet: Sequence[str]) -> str | None:
    """The Latin letter that stands where the symbol stands in its alphabet."""
    index = _index(symbol, alphabet)
    return None if index < 0 else LETTERS[index]


def _letter_in_any_alphabet(label: _Label) -> str | None:
    if label.set_off_by == "blank":
        return None
    letters = (_letter(label.symbol, alphabet) for alphabet in _ALPHABETS)
    return next((letter for letter in letters if letter), None)


def _index(symbol: str, alphabet: Sequence[str]) -> int:
    return next((index for index, each in enumerate(alphabet) if each == symbol), -1)


def _matches(answer: str, lines: Sequence[str]) -> list[int]:
    """Which lines are the answer.

    Case, width, blanks and a final stop do not count.
    """
    return [index for index, line in enumerate(lines) if line and _plain(line) == _plain(answer)]


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split()).rstrip(".。")


def _not_among(answer: str, options: Sequence[str]) -> Unusable:
    return Unusable("answer not among the options", f"answer {answer!r}, options {list(options)}"[:500])


def _two_readings(answer: str, options: Sequence[str]) -> Unusable:
    return Unusable("ambiguous options", f"answer {answer!r} can mean two of {list(options)}"[:500])

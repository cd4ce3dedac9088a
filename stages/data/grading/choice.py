"""Multiple choice: the option that an answer names."""

import re
import string
from collections.abc import Sequence

from stages.data.grading.text import plain, same_case

# The line of an option with its letter: "A. left", "A) left", "(A) left", "A".
_LINE = re.compile(r"\(?(?P<letter>[A-Z])\)?(?:[.):]\s*(?P<text>.*))?", re.DOTALL)

_LETTER = r"(?<![A-Za-z0-9'])(?P<letter>{letters})(?![A-Za-z0-9'])"
_ANY = _LETTER.format(letters="[A-Za-z]")
_CAPITAL = _LETTER.format(letters="[A-Z]")
# A bare letter, also in brackets or quotes and with a stop after it: "B", "(b)", "[B].", "'B'", "B)".
_BARE = re.compile(r"[(\[{<【「\"'“‘]*\s*(?P<letter>[A-Za-z])\s*[)\]}>】」\"'”’]*[.:,;。、]?")
# A letter at the start, set off from what follows: "B. left", "B) left", "(B) left", "B, because", "B - left", "B
# (left)".
_LEADING = re.compile(
    r"""(?:
        [(\[{<【「]\s*(?P<enclosed>[A-Za-z])\s*[)\]}>】」][.:,]?   # "(b) left"
        | (?P<marked>[A-Za-z])\s?[.):](?!\w\.)(?![\\/])              # "b. left", but not "e.g." or "C:\"
        | (?P<capital>[A-Z])\s?(?:[,;、。，]|\s[-–—]|[-–—]\s|\s?\()   # "B, because", "B - left", "B (left)"
    )\s*(?P<rest>.*)""",
    re.DOTALL | re.VERBOSE,
)
# A further letter right after a leading one: the answer names several options.
_ANOTHER = re.compile(rf"(?:(?i:and|or|nor|maybe|perhaps|possibly|either)\b|[,&/、和或\s(])*{_CAPITAL}")
_ANSWER = r"(?i:answers?|solution|choose|select|pick)|答案|正解|答え|정답|选择|選擇|选|選"
_OPTION = r"(?i:options?|choices?)|选项|選項"
_BETWEEN = (
    r"(?:\s|[:：=*(\[{\"'“‘]|(?i:\b(?:is|are|was|be|would|should|must|most|likely|probably|clearly|option|choice|"
    r"number|letter)\b)|应该|應該|选项|選項|是|为|為|は|은|는){0,8}"
)
_AFTER_ANSWER = re.compile(rf"(?:{_ANSWER}){_BETWEEN}{_ANY}")
_AFTER_OPTION = re.compile(rf"(?:{_OPTION}){_BETWEEN}{_ANY}|[(\[](?P<enclosed>[A-Z])[)\]]")
_SAID_RIGHT = re.compile(
    rf"{_CAPITAL}\s+(?i:is|was|seems|looks|must be)\s+(?i:the\s+)?(?i:right|correct|best|true|answer|most)\b"
)
_CAPITALS = re.compile(rf"(?<!\w-){_CAPITAL}(?!-\w)")  # "B-52" and "C-shaped" name no option
# "a red ball", "A man walks" and "I think" name no option.
_ARTICLE = re.compile(r"\s+[a-zà-ÿ]")
_VERB_AFTER = re.compile(r"\s+(?:is|was|because|since|as|seems|fits|matches|would|looks|and|or|nor)\b")
_DENIED_BEFORE = re.compile(
    r"(?:\b(?i:not|no|never|nor|than|instead of|except|without|neither)|n't|n’t|不是?|并非|並非|非|没有|沒有)"
    r"(?:\s+(?i:the|a|an|to|in|on|is|option|answer|choice)){0,3}\s*[(\[\"'“‘]?$"
)
_DENIED_AFTER = re.compile(r"[)\]]?\s+(?i:is|was|are)(?i:n't|\s+(?:not|wrong|incorrect|false|impossible))\b")
_REACH = 40  # characters before a name in which a denial counts


def named_option(answer: str, options: Sequence[str] = ()) -> str | None:
    """The letter of the option that an answer names, or None.

    `options` are whole lines ("A. left"); without them every letter is an option. The answer is the letter in any
    usual form, a sentence with it, the option's text, or both. An answer that names several options names none, and so
    does one whose letter and text belong to different options.
    """
    texts = option_texts(options)
    answer = plain(answer)
    if (bare := _BARE.fullmatch(answer)) and (letter := bare["letter"].upper()) in texts:
        return letter
    for names in (
        _by_text(answer, texts),
        _at_the_start(answer, texts),
        _marked(_AFTER_ANSWER, answer, texts),
        _marked(_SAID_RIGHT, answer, texts),
        _marked(_AFTER_OPTION, answer, texts),
        _anywhere(answer, texts),
    ):
        if names:
            return names.pop() if len(names) == 1 else None
    return None


def option_texts(options: Sequence[str]) -> dict[str, str]:
    """The options' texts by letter, plain and in lower case.

    Lines without letters get them by position. Without options every letter has the text "".
    """
    if not options:
        return dict.fromkeys(string.ascii_uppercase, "")
    lines = [_LINE.fullmatch(option.strip()) for option in options]
    letters = [line["letter"] for line in lines if line]
    if len(set(letters)) == len(options):
        return {line["letter"]: same_case(plain(line["text"] or "")) for line in lines if line}
    return {letter: same_case(plain(option)) for letter, option in zip(string.ascii_uppercase, options, strict=False)}


def _by_text(answer: str, texts: dict[str, str]) -> set[str]:
    """The options whose text is the whole answer."""
    wanted = _bare_text(same_case(answer))
    return {letter for letter, text in texts.items() if wanted and _bare_text(text) == wanted}


def _at_the_start(answer: str, texts: dict[str, str]) -> set[str]:
    """The option whose letter stands at the start, with others that follow."""
    found = _LEADING.match(answer)
    if not found:
        return set()
    letter = (found["enclosed"] or found["marked"] or found["capital"]).upper()
    if letter not in texts:
        return set()
    rest = found["rest"].strip()
    if _bare_text(texts[letter]) == _bare_text(same_case(rest)):
        return {letter}
    another = _ANOTHER.match(rest)
    if another and another["letter"] in texts and another["letter"] != letter and not _is_word(rest, another):
        return {letter, another["letter"]}
    return {letter} | _by_text(rest, texts)


def _marked(mark: re.Pattern[str], answer: str, texts: dict[str, str]) -> set[str]:
    """The options whose marked letter the answer does not deny."""
    names = set()
    for found in mark.finditer(answer):
        group = "letter" if found["letter"] else "enclosed"
        letter = found[group]
        if letter in "ai" and _ARTICLE.match(answer, found.end(group)):
            continue
        if letter.upper() in texts and not _is_denied(answer, found.start(), found.end(group)):
            names.add(letter.upper())
    return names


def _anywhere(answer: str, texts: dict[str, str]) -> set[str]:
    """The options whose capital letter or text stands anywhere, not denied."""
    cased = same_case(answer)
    spans = _text_spans(cased, texts)
    names = {letter for letter, start, end in spans if not _is_denied(cased, start, end)}
    inside_text = {place for _, start, end in spans for place in range(start, end)}
    for found in _CAPITALS.finditer(answer):
        if found["letter"] in texts and found.start() not in inside_text and not _is_word(answer, found):
            names |= set() if _is_denied(answer, found.start(), found.end()) else {found["letter"]}
    return names


def _text_spans(answer: str, texts: dict[str, str]) -> list[tuple[str, int, int]]:
    """The places of options' texts that lie inside no longer text."""
    spans: list[tuple[str, int, int]] = []
    longest_at = [0] * (len(answer) + 1)
    for letter, text in sorted(texts.items(), key=lambda item: -len(item[1])):
        wanted = _bare_text(text)
        for found in re.finditer(_as_words(wanted), answer) if wanted else ():
            if longest_at[found.start()] <= len(wanted):
                spans.append((letter, found.start(), found.end()))
                longest_at[found.start() : found.end()] = [len(wanted)] * len(wanted)
    return spans


def _as_words(text: str) -> str:
    """A pattern for the text as whole words.

    Scripts without spaces have no word boundaries.
    """
    before = r"(?<![a-z0-9])" if text[0].isascii() else ""
    after = r"(?![a-z0-9])" if text[-1].isascii() else ""
    return before + re.escape(text) + after


def _is_word(answer: str, found: re.Match[str]) -> bool:
    """Whether a capital "A" or "I" is an article or a pronoun."""
    follows = _ARTICLE.match(answer, found.end())
    return found["letter"] in "AI" and bool(follows) and not _VERB_AFTER.match(answer, found.end())


def _is_denied(answer: str, start: int, end: int) -> bool:
    before = answer[max(0, start - _REACH) : start]
    return bool(_DENIED_BEFORE.search(before) or _DENIED_AFTER.match(answer, end))


def _bare_text(text: str) -> str:
    return text.strip(" .。!！\"'“”‘’")

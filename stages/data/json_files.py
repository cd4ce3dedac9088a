"""JSON arrays and JSON Lines, read record by record within bounds."""

import json
import re
from collections.abc import Iterator
from typing import TextIO

from stages.data.sample import Unusable

MAX_RECORD = 1 << 22  # characters of one record; the longest of the released 260k set has some thousand
MAX_DEPTH = 64  # brackets inside one another
CHUNK = 1 << 16  # characters

_DECODER = json.JSONDecoder()
_BLANK = re.compile(r"[ \t\r\n]*")
_STRUCTURE = re.compile(r'["\[\]{}]')
_IN_STRING = re.compile(r'(?:[^"\\]++|\\.)*+', re.DOTALL)
_SCALAR_END = re.compile(r"[,\]\s]")
_TOO_LONG = f"the record has more than {MAX_RECORD:,} characters"
_TOO_DEEP = f"the record is nested more than {MAX_DEPTH} levels deep"


def array_items(file: TextIO) -> Iterator[object]:
    """The items of a JSON array, one in memory at a time.

    An item that is too long, too deep or has an endless number comes as an Unusable. ValueError where the text is no
    array.
    """
    window = _Window(file)
    window.take("[")
    number = 0
    while (next_character := window.peek()) != "]":
        if number:
            window.take(",")
            next_character = window.peek()
        number += 1
        if not next_character:
            raise ValueError(f"the array ends inside record {number}")
        yield _item(window, number)
    window.take("]")
    if window.peek():
        raise ValueError(f"text follows the array, after record {number}")


def json_lines(file: TextIO) -> Iterator[tuple[int, object]]:
    """Each line with its number, as JSON or as an Unusable.

    Blank lines are passed over.
    """
    number = 0
    while line := file.readline(MAX_RECORD + 1):
        number += 1
        if len(line) > MAX_RECORD:
            while line and not line.endswith("\n"):
                line = file.readline(CHUNK)
            yield number, Unusable("invalid record", _TOO_LONG)
        elif line.strip():
            yield number, _parsed(line)


def _parsed(line: str) -> object:
    try:
        value = json.loads(line)
    except json.JSONDecodeError:
        return Unusable("invalid record", f"the line is not JSON: {line.strip()[:200]}")
    except RecursionError:
        return Unusable("invalid record", _TOO_DEEP)
    except ValueError as error:  # a number with too many digits
        return Unusable("invalid record", str(error))
    return _within_bounds(value, len(line))


class _Window:
    """The part of a text file that waits to be used."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self.text = ""
        self.at = 0

    @property
    def length(self) -> int:
        return len(self.text) - self.at

    def extend(self) -> bool:
        """Read on, twice as far each time.

        False at the end of the file.
        """
        more = self._file.read(max(CHUNK, self.length))
        self.text, self.at = self.text[self.at :] + more, 0
        return bool(more)

    def peek(self) -> str:
        """The next character that is not blank.

        "" at the end of the file.
        """
        while True:
            if found := _BLANK.match(self.text, self.at):
                self.at = found.end()
            if self.length:
                return self.text[self.at]
            if not self.extend():
                return ""

    def take(self, character: str) -> None:
        """Go past a character; ValueError when another one comes next."""
        if (found := self.peek()) != character:
            raise ValueError(
                f"{character!r} expected, not {found!r}" if found else f"the text ends before {character!r}"
            )
        self.at += 1


def _item(window: _Window, number: int) -> object:
    while True:
        try:
            value, end = _DECODER.raw_decode(window.text, window.at)
        except json.JSONDecodeError as error:
            if window.length > MAX_RECORD:
                return _skipped(window, number, _TOO_LONG)
            if not window.extend():
                raise ValueError(f"{error.msg} in record {number}") from None
        except RecursionError:
            return _skipped(window, number, _TOO_DEEP)
        except ValueError as error:  # a number with too many digits
            return _skipped(window, number, str(error))
        else:
            if end == len(window.text) and window.extend():  # a number may go on
                continue
            length, window.at = end - window.at, end
            return _within_bounds(value, length)


def _skipped(window: _Window, number: int, detail: str) -> Unusable:
    """Go past an item without reading it into memory."""
    if window.text[window.at] not in '"[{':
        _find(window, _SCALAR_END, number)
        window.at -= 1
        return Unusable("invalid record", detail)
    depth = 0
    while True:
        mark = _find(window, _STRUCTURE, number)
        if mark == '"':
            _finish_string(window, number)
        else:
            depth += 1 if mark in "[{" else -1
        if depth == 0:
            return Unusable("invalid record", detail)


def _finish_string(window: _Window, number: int) -> None:
    """Go past the rest of a string and its closing quote."""
    while True:
        if found := _IN_STRING.match(window.text, window.at):
            window.at = found.end()
        if window.text.startswith('"', window.at):
            window.at += 1
            return
        if not window.extend():  # the window ends, perhaps between a backslash and its character
            raise ValueError(f"the array ends inside record {number}")


def _find(window: _Window, pattern: re.Pattern[str], number: int) -> str:
    """Go past the next match and return it.

    ValueError at the end of the file.
    """
    while not (found := pattern.search(window.text, window.at)):
        window.at = len(window.text)
        if not window.extend():
            raise ValueError(f"the array ends inside record {number}")
    window.at = found.end()
    return found.group()


def _within_bounds(value: object, length: int) -> object:
    if length > MAX_RECORD:
        return Unusable("invalid record", _TOO_LONG)
    return Unusable("invalid record", _TOO_DEEP) if _is_deep(value) else value


def _is_deep(value: object) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for each in level
            if isinstance(each, list | dict)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return False
    return any(isinstance(each, list | dict) for each in level)

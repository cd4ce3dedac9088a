"""Text from data stays inside its line of the log."""

import logging

import pytest

from stages.run.log import SafeFormatter, escaped


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("clip 1", "clip 1"),
        ("Größe 大小", "Größe 大小"),
        ("a\nStage 'ingest' didn't change, skipping", "a\\nStage 'ingest' didn't change, skipping"),
        ("a\r\x1b[2Kb", "a\\r\\x1b[2Kb"),
        ("a\x85b\u2028c", "a\\x85b\\u2028c"),
        ("abc\u202edef", "abc\\u202edef"),
        ("a\ud800", "a\\ud800"),
    ],
)
def test_unsafe_characters_are_shown_as_escapes(text: str, shown: str) -> None:
    assert escaped(text) == shown


def test_arguments_of_a_message_are_escaped_and_the_message_itself_is_not() -> None:
    record = logging.LogRecord("stages", logging.INFO, "", 0, "two\nlines of %s, %d, %.1f", ("a\nb", 3, 0.5), None)
    assert SafeFormatter("%(message)s").format(record) == "two\nlines of a\\nb, 3, 0.5"


def test_a_path_is_an_argument_too() -> None:
    class Place:
        def __str__(self) -> str:
            return "data/\x1bx"

    record = logging.LogRecord("stages", logging.INFO, "", 0, "in %s", (Place(),), None)
    assert SafeFormatter("%(message)s").format(record) == "in data/\\x1bx"

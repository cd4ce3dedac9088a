import pytest

from flows.text import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m and\tplain ü", "red and\tplain ü"),
        ("\x1b]0;title\x07x", "x"),
        ("half \x1b", "half "),
        ("a\rb\x00c\x9bd", "a\\rb\\x00c\\x9bd"),
        ("\u202egnp.exe\u2028next", "\\u202egnp.exe\\u2028next"),
    ],
)
def test_control_characters_are_spelled_out_and_terminal_escapes_dropped(text: str, shown: str) -> None:
    assert printable(text) == shown

import pytest

from flows.errors import UsageError, one_line
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


def test_a_refusal_is_one_line_without_terminal_escapes() -> None:
    with pytest.raises(SystemExit) as end, one_line("sweep"):
        raise UsageError("git: \x1b[31mfatal\n  no such file \u202egnp.exe")

    assert end.value.code == "sweep: git: fatal no such file \\u202egnp.exe"


def test_a_fault_keeps_its_traceback() -> None:
    with pytest.raises(ValueError, match="a fault"), one_line("sweep"):
        raise ValueError("a fault")

"""The journal of answers.

Whole rows are kept, others are named and passed over.
"""

import json
from pathlib import Path

import pyarrow as pa
import pytest

from stages.data.journal import JournaledStore

SCHEMA = pa.schema([("key", pa.string()), ("text", pa.string()), ("prompt_tokens", pa.int64())])


def row(key: str, tokens: int = 5) -> dict[str, object]:
    return {"key": key, "text": f"answer {key}", "prompt_tokens": tokens}


def store(folder: Path) -> JournaledStore:
    return JournaledStore(folder / "store", folder / "journal.jsonl", SCHEMA)


def test_answers_survive_a_kill_and_a_torn_last_line_is_cut_off(tmp_path: Path) -> None:
    with store(tmp_path) as before:
        before.add([row("a"), row("b")])
    with open(tmp_path / "journal.jsonl", "ab") as file:
        file.write(b'{"key": "c", "te')
    with store(tmp_path) as after:
        assert [each["key"] for each in after.journaled()] == ["a", "b"]
        after.add([row("c")])
        after.merge(["b", "c", "a"])
        assert after.read("c") == row("c")
    assert (tmp_path / "journal.jsonl").read_bytes() == b""


BAD_LINES = {
    "count out of range": '{"key": "bad", "text": "x", "prompt_tokens": 9999999999999999999999}',
    "count as text": '{"key": "bad", "text": "x", "prompt_tokens": "many"}',
    "text as a list": '{"key": "bad", "text": ["x"], "prompt_tokens": 1}',
    "key as a number": '{"key": 5, "text": "x", "prompt_tokens": 1}',
    "no key": '{"text": "x"}',
    "a list": '["key"]',
    "null": "null",
    "not JSON": "not JSON",
    "deep": "[" * 100_000,
    "zeros": "\0\0\0\0",
}


@pytest.mark.parametrize("name", BAD_LINES)
def test_a_bad_line_is_named_and_passed_over_and_later_runs_go_on(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    lines = [json.dumps(row("a")), BAD_LINES[name], json.dumps(row("b"))]
    (tmp_path / "journal.jsonl").write_text("".join(f"{each}\n" for each in lines))
    with store(tmp_path) as found:
        assert "journal.jsonl: line 2 is no answer and is passed over: " in caplog.text
        assert "\n" not in caplog.messages[0]
        assert [each["key"] for each in found.journaled()] == ["a", "b"]
        assert "bad" not in found
        found.merge(["a", "b"])
    with store(tmp_path) as later:
        assert later.read("b") == row("b")
        later.add([row("bad")])


def test_bytes_that_are_no_utf8_are_a_bad_line_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "journal.jsonl").write_bytes(b'\xff\xfe"\n' + json.dumps(row("a")).encode() + b"\n")
    with store(tmp_path) as found:
        assert [each["key"] for each in found.journaled()] == ["a"]
    assert "line 1 is no answer" in caplog.text


def test_a_row_that_does_not_fit_the_store_never_reaches_the_journal(tmp_path: Path) -> None:
    with store(tmp_path) as found:
        with pytest.raises(ValueError, match="a value does not fit its column"):
            found.add([row("a"), row("b", tokens=9999999999999999999999)])
        assert "a" not in found
    assert (tmp_path / "journal.jsonl").read_bytes() == b""

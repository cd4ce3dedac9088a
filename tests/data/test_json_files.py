"""JSON within bounds.

What is too deep or too long is one bad record, and the next is read.
"""

import io
import json
from pathlib import Path

import pytest

from stages.data.json_files import MAX_DEPTH, MAX_RECORD, array_items
from stages.data.record_files import read_records
from stages.data.sample import Unusable
from stages.run.errors import UserError

GOOD = {"problem_id": 1, "problem": "Which way?"}
TOO_DEEP = f"the record is nested more than {MAX_DEPTH} levels deep"
TOO_LONG = f"the record has more than {MAX_RECORD:,} characters"


def read(folder: Path, name: str, text: str) -> list[object]:
    """The records of a file, and the details of the unusable ones."""
    (folder / name).write_text(text)
    records = (record for _, record in read_records(folder / name))
    return [record.detail if isinstance(record, Unusable) else record for record in records]


BAD_RECORDS = {
    "lists": ("[" * 100_000 + "]" * 100_000, TOO_DEEP),
    "objects": ('{"a":' * 100_000 + "1" + "}" * 100_000, TOO_DEEP),
    "just too deep": ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), TOO_DEEP),
    "a long string": (json.dumps({"problem": "x" * (2 * MAX_RECORD)}), TOO_LONG),
    "a long string of escapes": (json.dumps({"problem": '"\\[{' * MAX_RECORD}), TOO_LONG),
    "many strings": (json.dumps(["x" * 1000] * (MAX_RECORD // 900)), TOO_LONG),
}


@pytest.mark.parametrize("name", BAD_RECORDS)
def test_a_record_out_of_bounds_is_refused_by_its_number_and_the_next_is_read(tmp_path: Path, name: str) -> None:
    bad, detail = BAD_RECORDS[name]
    good = json.dumps(GOOD)
    assert read(tmp_path, "r.json", f"[{good}, {bad}, {good}]") == [GOOD, detail, GOOD]
    assert read(tmp_path, "r.jsonl", f"{good}\n{bad}\n{good}\n") == [GOOD, detail, GOOD]


def test_the_deepest_record_is_read(tmp_path: Path) -> None:
    deepest: object = "x"
    for _ in range(MAX_DEPTH):
        deepest = {"a": deepest}
    assert read(tmp_path, "r.json", json.dumps([deepest])) == [deepest]


def test_numbers_with_too_many_digits_and_values_that_are_no_objects_are_passed_on(tmp_path: Path) -> None:
    records = read(tmp_path, "r.json", f'[{"9" * 100_000}, 12, 3.5, null, [1], "x"]')
    assert records[1:] == [12, 3.5, None, [1], "x"]
    assert "digits" in str(records[0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"a": 1}', "the text ends before ','"),
        ('[{"a": 1} {"a": 2}]', "',' expected, not '{'"),
        ('[{"a": 1},]', "record 2"),
        ('[{"a": 1}, {"a"', "record 2"),
        ('[{"a": 1}] x', "text follows the array"),
        ("[{]", "record 1"),
        ("[", "record 1"),
    ],
)
def test_an_array_with_a_fault_stops_where_it_stands(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match="not readable as JSON") as error:
        read(tmp_path, "r.json", text)
    assert message in str(error.value)


def test_an_array_longer_than_the_window_is_read_whole(tmp_path: Path) -> None:
    items = [{"number": number, "text": 'é[{"' * (number % 700)} for number in range(3000)]
    for indent in (None, 2):
        assert read(tmp_path, "r.json", json.dumps(items, ensure_ascii=False, indent=indent)) == items
    assert read(tmp_path, "e.json", " [ ] ") == []


class Stream(io.StringIO):
    """Remembers how much was read at once."""

    most = 0

    def read(self, size: int | None = -1) -> str:
        self.most = max(self.most, size or 0)
        return super().read(size)


def test_a_record_without_bounds_is_never_held_as_a_whole() -> None:
    stream = Stream(f'["{"x" * (6 * MAX_RECORD)}", 5]')
    [refused, value] = array_items(stream)
    assert isinstance(refused, Unusable)
    assert value == 5
    assert 0 < stream.most <= MAX_RECORD

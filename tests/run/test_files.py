"""Files are whole or absent, and equal content is equal bytes."""

import errno
import math
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.run.files import (
    read_json,
    table_writer,
    write_atomic,
    write_figures,
    write_json,
    write_json_array,
    write_table,
)


def test_json_is_rounded_and_never_holds_a_number_json_does_not_know(tmp_path: Path) -> None:
    write_json(tmp_path / "a" / "m.json", {"b": 0.1 + 0.2, "a": [1, math.nan], "c": {"d": math.inf}})
    assert (
        tmp_path / "a" / "m.json"
    ).read_text() == '{\n  "b": 0.3,\n  "a": [\n    1,\n    null\n  ],\n  "c": {\n    "d": null\n  }\n}\n'
    assert read_json(tmp_path / "a" / "m.json") == {"b": 0.3, "a": [1, None], "c": {"d": None}}


def test_an_array_has_one_object_per_line_and_may_be_empty(tmp_path: Path) -> None:
    write_json_array(tmp_path / "two.json", ({"n": n} for n in (1, 2)))
    assert (tmp_path / "two.json").read_text() == '[\n{"n": 1},\n{"n": 2}\n]\n'
    write_json_array(tmp_path / "none.json", [])
    assert read_json(tmp_path / "none.json") == []


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    write_atomic(tmp_path / "f", "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomic(tmp_path / "f", "\ud800")
    assert (tmp_path / "f").read_text() == "old"


def test_a_full_disk_is_told_with_the_file_and_an_input_that_is_not_there_without(tmp_path: Path) -> None:
    table, schema = tmp_path / "t.parquet", pa.schema([("n", pa.int64())])
    for error, name in (
        (OSError(errno.ENOSPC, "No space left on device"), str(table)),
        (FileNotFoundError(errno.ENOENT, "not there"), None),
    ):
        with pytest.raises(type(error)) as caught, table_writer(table, schema):
            raise error
        assert caught.value.filename == name


def test_equal_tables_are_equal_bytes(tmp_path: Path) -> None:
    schema = pa.schema([("id", pa.string()), ("n", pa.int64())])
    rows = [{"id": f"s{i}", "n": i} for i in range(1000)]
    write_table(tmp_path / "a.parquet", rows, schema)
    write_table(tmp_path / "b.parquet", rows, schema)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_what_a_killed_writer_left_is_taken_over_by_the_next(tmp_path: Path) -> None:
    table = tmp_path / "table.parquet"
    code = f"""
import os, signal
from pathlib import Path
import pyarrow as pa
import pyarrow.parquet as pq
from stages.run.files import table_writer
with table_writer(Path({str(table)!r}), pa.schema([("x", pa.int64())])) as write:
    write({{"x": 1}})
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert [left.name for left in tmp_path.iterdir()] == [".table.parquet.tmp"]
    write_table(table, [{"x": 2}], pa.schema([("x", pa.int64())]))
    assert [left.name for left in tmp_path.iterdir()] == ["table.parquet"]
    assert pq.read_table(table)["x"].to_pylist() == [2]


def test_figures_are_rounded_and_a_missing_one_is_empty(tmp_path: Path) -> None:
    rows = [{"step": 1, "kl": 0.1234567894, "left": 5.0}, {"step": 2, "kl": math.nan, "left": 5.0}]
    write_figures(tmp_path / "plot.csv", ("step", "kl"), rows)
    assert (tmp_path / "plot.csv").read_text() == "step,kl\n1,0.123456789\n2,\n"

"""Files that are whole or absent.

A file is written under a temporary name, synced to the disk and renamed.
"""

import csv
import errno
import hashlib
import io
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

FULL = (errno.ENOSPC, errno.EDQUOT)  # error numbers of a full disk and a full quota
ROW_GROUP = 16_384  # rows of a table that are kept in memory before they are written

K = TypeVar("K", bound=str)


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write `data`; text is written as UTF-8.

    A reader sees the old file or the new one, never a part. This holds after a crash too.
    """
    with whole_file(path) as file:
        file.write(data.encode() if isinstance(data, str) else data)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object; equal values give equal bytes.

    Keys keep their order. Floats are rounded to 6 places. A float that is not finite becomes null, because JSON has no
    word for it and `dvc metrics diff` fails on "NaN".
    """
    write_atomic(path, json.dumps(_rounded(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_json_array(path: Path, items: Iterable[Mapping[str, Any]]) -> None:
    """Write a JSON array of objects, one object on each line.

    One object is in memory at a time.
    """
    with whole_file(path) as file:
        file.write(b"[")
        for number, item in enumerate(items):
            file.write((",\n" if number else "\n").encode() + json.dumps(item, ensure_ascii=False).encode())
        file.write(b"\n]\n")


def write_figures(path: Path, columns: Sequence[K], rows: Iterable[Mapping[K, float]]) -> None:
    """Write rows of figures as CSV, rounded to 9 places.

    A figure that does not exist is NaN in the row and empty in the file.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(["" if math.isnan(row[name]) else round(row[name], 9) for name in columns] for row in rows)
    write_atomic(path, text.getvalue())


def read_json(path: Path) -> Any:
    """The content of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_table(path: Path, rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> None:
    """Write rows to a Parquet file; equal rows give equal bytes."""
    with table_writer(path, schema) as write:
        for row in rows:
            write(row)


@contextmanager
def table_writer(path: Path, schema: pa.Schema) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """A function that appends one row to a Parquet file.

    The file is there once the block has ended without an error. Few rows are in memory at a time.
    """
    pending: list[Mapping[str, Any]] = []

    def flush() -> None:
        if not pending:
            return
        writer.write_table(pa.Table.from_pylist(pending, schema=schema))
        pending.clear()

    def write(row: Mapping[str, Any]) -> None:
        pending.append(row)
        if len(pending) == ROW_GROUP:
            flush()

    with whole_file(path) as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
        yield write
        flush()


def iterate_rows(path: Path, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """The rows of a Parquet file in order, few in memory."""
    with pq.ParquetFile(path, buffer_size=2**20) as file:
        for batch in file.iter_batches(1024, columns=columns):
            yield from batch.to_pylist()


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file's bytes, read in constant memory."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A file to write, which becomes `path` after the block.

    When the block ends with an error, `path` stays as it was.

    Until then it has one hidden name beside `path`: the next run overwrites what a killed run left, and .dvcignore
    hides it from DVC. The error of a full disk names `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if error.errno in FULL:
            error.filename = error.filename or str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)
    _fsync_directory(path.parent)


def sync_folder(path: Path) -> None:
    """Bring the files of a folder, and their names, to the disk."""
    for file in path.rglob("*"):
        if file.is_file():
            with open(file, "rb") as opened:
                os.fsync(opened.fileno())
    for folder in (path, *(each for each in path.rglob("*") if each.is_dir())):
        _fsync_directory(folder)


def _fsync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value

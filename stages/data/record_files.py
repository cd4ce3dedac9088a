"""Record files: JSON arrays, JSON Lines and CSV, read record by record."""

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TextIO

from stages.data.json_files import MAX_RECORD, array_items, json_lines
from stages.data.sample import Unusable
from stages.data.text_files import encoding_advice, open_text
from stages.run.errors import UserError

TABLES = (".csv", ".tsv")
DELIMITERS = (",", ";", "\t")


def read_records(path: Path, name: str | None = None) -> Iterator[tuple[str, object]]:
    """Each record with its place: "record 3", "line 3" or "row 3".

    A file whose name ends in `.csv` or `.tsv` is read as a table, any other as a JSON array or JSON Lines. A record
    that cannot be read comes as an Unusable. A row of a table has only the cells that are not empty. UserError, also
    midway, when the file cannot be read; it calls the file by `name`, or else by its path.
    """
    name = name or str(path)
    is_table = path.suffix.lower() in TABLES
    try:
        with open_text(path, newline="" if is_table else None) as file:
            yield from _table_rows(file) if is_table else _json_records(file)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UserError(f"{name}: {reason}; correct the file, `ingest.root` or the source in params.yaml") from None
    except UnicodeError:
        raise UserError(f"{name}: {encoding_advice(path)}") from None
    except (ValueError, csv.Error) as error:
        kind = "CSV" if is_table else "JSON"
        advice = "correct the file" if is_table else "correct the file or write one JSON object per line"
        raise UserError(f"{name}: not readable as {kind} ({' '.join(str(error).split())}); {advice}") from None


def _json_records(file: TextIO) -> Iterator[tuple[str, object]]:
    first = next((line for line in iter(lambda: file.readline(MAX_RECORD), "") if line.strip()), "").strip()
    file.seek(0)
    if first.startswith("["):
        return ((f"record {number}", item) for number, item in enumerate(array_items(file), 1))
    if first == "{":
        raise ValueError("one object over several lines, where an array of objects or an object per line is read")
    return ((f"line {number}", record) for number, record in json_lines(file))


def _table_rows(file: TextIO) -> Iterator[tuple[str, object]]:
    csv.field_size_limit(MAX_RECORD)
    header = next((line for line in file if line.strip()), "")
    delimiter = max(DELIMITERS, key=lambda each: len(_cells(header, each)))
    if header.lower().startswith("sep="):  # Excel's own first line
        delimiter, header = header.strip()[4:] or "\t", next(file, "")
    # a quote that is never closed would swallow the rows after it, hence strict
    reader = csv.reader(chain([header], file), strict=True, delimiter=delimiter, skipinitialspace=True)
    read = 0  # lines
    try:
        names = [name.strip() for name in next(reader)]
        if twice := next((name for name, count in Counter(names).items() if name and count > 1), None):
            raise csv.Error(f"two columns are called '{twice}'")
        read = reader.line_num
        for number, row in enumerate((row for row in reader if row), 1):
            yield f"row {number}", _row(names, row, delimiter)
            read = reader.line_num
    except csv.Error as error:
        cause = "a quote is never closed" if "end of data" in str(error) else error
        raise csv.Error(f"after line {read}: {cause}") from None


def _cells(header: str, delimiter: str) -> list[str]:
    return next(csv.reader([header], delimiter=delimiter), [])


def _row(names: Sequence[str], row: Sequence[str], delimiter: str) -> dict[str, str] | Unusable:
    if len(row) > len(names):
        detail = f"{len(row) - len(names)} cells too many; put quotes around a cell that has {delimiter!r} in it"
        return Unusable("invalid record", detail)
    return {name: cell for name, cell in zip(names, row, strict=False) if name and cell}

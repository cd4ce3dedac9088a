"""Record files: JSON arrays, JSON Lines and CSV, read record by record."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import ijson

from stages.run.errors import UserError


def read_records(path: Path) -> Iterator[tuple[str, object]]:
    """Each record with its place: "record 3", "line 3" or "row 3".

    A file whose name ends in `.csv` is read as CSV, any other as a JSON array or JSON Lines. A record that cannot be
    read comes as a string: a line that is not JSON as it stands, a CSV row as the reason. A CSV row has only the cells
    that are not empty. UserError, also midway, when the file cannot be read.
    """
    try:
        if path.suffix.lower() == ".csv":
            yield from _csv_rows(path)
        elif _starts_array(path):
            yield from _array_items(path)
        else:
            yield from _json_lines(path)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UserError(f"{path}: {reason}; correct the file, `ingest.root` or the source in params.yaml") from None
    except (ValueError, ijson.JSONError, csv.Error) as error:
        kind = "CSV" if path.suffix.lower() == ".csv" else "JSON"
        message = " ".join(str(error).split())
        raise UserError(
            f"{path}: not readable as {kind} ({message}); correct the file or write one JSON object per line"
        ) from None


def _starts_array(path: Path) -> bool:
    with open(path, encoding="utf-8-sig") as file:
        return next((line for line in file if line.strip()), "").lstrip().startswith("[")


def _array_items(path: Path) -> Iterator[tuple[str, object]]:
    with open(path, "rb") as file:
        for number, record in enumerate(ijson.items(file, "item", use_float=True), 1):
            yield f"record {number}", record


def _json_lines(path: Path) -> Iterator[tuple[str, object]]:
    with open(path, encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield f"line {number}", _parsed(line)


def _parsed(line: str) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):  # not JSON, a number that is too long, or brackets that are too deep
        return line


def _csv_rows(path: Path) -> Iterator[tuple[str, object]]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)  # a quote that is never closed would swallow the rows after it
        try:
            for number, row in enumerate(reader, 1):
                surplus = row.pop(None, [])
                cells = {name: cell for name, cell in row.items() if name and cell}
                too_many = f"{len(surplus)} cells too many; put quotes around one that has a comma in it"
                yield f"row {number}", too_many if surplus else cells
        except csv.Error as error:
            raise csv.Error(f"after line {reader.line_num}: {error}") from None

"""Rows of any table or dataset, as the fields of a record."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

from stages.data.conversation import conversation_column, conversation_fields
from stages.data.sample import Unusable

RecordField = Literal[
    "problem_id",
    "problem",
    "data_type",
    "problem_type",
    "options",
    "solution",
    "path",
    "process",
    "original_question_type",
    "clip_start",
    "clip_end",
]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
# Columns that may hold a row's medium, unless the source's `columns` names one. Lists of files come after single ones.
MEDIA_COLUMNS = ("path", "video", "image")
LIST_COLUMNS = ("videos", "images", "audios")


def record_fields(
    row: Mapping[str, object], columns: Mapping[RecordField, str], defaults: Mapping[RecordField, str]
) -> dict[str, object]:
    """The row's values by record field.

    Unusable for a conversation or a list that is not about one question.

    `columns` maps a record field to the row's column where the two differ, `defaults` has values for missing ones. Of a
    conversation the question and the answer become fields.
    """
    column = conversation_column(row)
    if column:
        row = conversation_fields(row, column)
    fields: dict[str, object] = {**defaults}
    for name in get_args(RecordField):
        value = _medium(row, columns.get("path")) if name == "path" else row.get(columns.get(name, name))
        if value not in (None, ""):
            fields[name] = value
    fields["options"] = _options(fields.get("options"))
    if fields["options"]:
        fields.setdefault("problem_type", "multiple choice")
    elif column:
        fields.setdefault("problem_type", "free-form")
    return fields


def with_data_type(fields: dict[str, object]) -> dict[str, object]:
    """The fields with the data type of the path's suffix."""
    path = fields.get("path")
    if not isinstance(path, str):
        return fields
    if fields.get("data_type") == "frame":
        # Video-R1's name for a folder of frames, which its evaluation files nevertheless call .mp4
        return fields | {"data_type": "video", "path": path.removesuffix(".mp4")}
    return {"data_type": "image" if Path(path).suffix.lower() in IMAGE_SUFFIXES else "video", **fields}


def _options(value: object) -> object:
    """Options of one cell ("left|right") or of an object ({"A".

    "left"}) as a list.
    """
    if isinstance(value, str) and "|" in value:
        return [option.strip() for option in value.split("|")]
    if isinstance(value, Mapping):
        return [f"{letter}. {text}" for letter, text in value.items()]
    return value


def _medium(row: Mapping[str, object], column: str | None) -> object:
    """The one file, or media cell, that the row is about."""
    if column:
        files = _files(row, column)
    else:
        single = next((files for name in MEDIA_COLUMNS if (files := _files(row, name))), [])
        files = [*single, *(file for name in LIST_COLUMNS for file in _files(row, name))]
    if len(files) > 1 or (files and isinstance(files[0], list)):
        raise Unusable("several media", f"the record names {len(files)} files, a question has one: {str(files)[:200]}")
    file = files[0] if files else None
    return file.removeprefix("file://") if isinstance(file, str) else file


def _files(row: Mapping[str, object], column: str) -> list[object]:
    value = row.get(column)
    if isinstance(value, list):
        return value
    return [] if value in (None, "") else [value]

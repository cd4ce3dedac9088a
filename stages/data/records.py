"""Video-R1's records: checked into samples, and written back."""

import os
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from stages.data.grading import extract_answer, parse_number
from stages.data.options import check_one_right, letter_options
from stages.data.sample import DataType, ProblemType, Reject, Sample, Split, Unusable
from stages.data.special_tokens import check_special_tokens, without_media_tag
from stages.run.addresses import MARK, Address, Place
from stages.run.errors import UserError
from stages.run.files import write_json_array

MAX_TEXT = 20_000  # characters; the longest field of the released 260k set is far below
MAX_NAME = 200  # of a record's id
MAX_OPTIONS = 26  # one letter each
MAX_SHOWN = 80  # characters of a value in a message

Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
Text = Annotated[str, Field(max_length=MAX_TEXT)]
Words = Annotated[str, Field(min_length=1, max_length=MAX_TEXT, pattern=r"\S")]
MediaPath = Annotated[str, Field(min_length=1, max_length=4096, pattern=r"^[^\x00]*[^\s\x00][^\x00]*$")]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def _as_text(value: object) -> object:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _as_texts(value: object) -> object:
    if isinstance(value, str):
        raise ValueError("one text; write a list of options, or in a cell of a table divide them by |")
    return [_as_text(each) for each in value] if isinstance(value, list | tuple) else value


class Record(BaseModel):
    """A released record (paper.md §4).

    Fields that the pipeline does not use are ignored. Numbers among options and as the solution become text.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    problem_id: Annotated[int, Field(strict=True)] | Name
    problem: Words
    data_type: DataType
    problem_type: ProblemType
    options: Annotated[tuple[Words, ...], Field(max_length=MAX_OPTIONS), BeforeValidator(_as_texts)] | None = None
    solution: Annotated[Words, BeforeValidator(_as_text)]
    path: MediaPath
    process: Text | None = None
    original_question_type: Text = ""
    clip_start: Seconds | None = None
    clip_end: Seconds | None = None


def read_sample(
    raw: object,
    source: str,
    media: Place,
    split: Split,
    place: str,
    licence: str = "",
    columns: Sequence[str] | None = None,
) -> Sample | Reject:
    """One record as a sample, or as a reject with its reason.

    The record's path starts from `media`, a folder or an address; a path that leaves it, also through a link, is
    rejected. Whether an object is there shows when it is fetched.
    `place` says where the record stands in its file, `columns` which columns it has there. The sample's media hash is
    still empty.
    """
    try:
        record = _checked(raw, place, columns)
        problem = without_media_tag(record.problem, record.data_type)
        options, answer = _options_and_answer(record)
        if split != "test":  # a benchmark is scored as its authors do
            check_one_right(options, answer)
        for field, text in (("problem", problem), ("process", record.process or ""), ("solution", answer)):
            check_special_tokens(field, text)
        for option in options:
            check_special_tokens("options", option)
        path = _media_path(record, media)
    except Unusable as error:
        return rejected(raw, source, place, error)
    return Sample(
        sample_id=_sample_id(raw, source, place),
        source=source,
        data_type=record.data_type,
        problem_type=record.problem_type,
        problem=problem,
        options=options,
        answer=answer,
        process=record.process or None,
        media_path=str(path),
        media_sha256="",
        clip_start=record.clip_start,
        clip_end=record.clip_end,
        split=split,
        category=record.original_question_type,
        licence=licence,
    )


def rejected(raw: object, source: str, place: str, error: Unusable) -> Reject:
    """The reject of a record that cannot become a sample."""
    detail = error.detail.encode(errors="replace").decode()
    return Reject(sample_id=_sample_id(raw, source, place), stage="ingest", reason=error.reason, detail=detail)


def write_records(path: Path, samples: Iterable[Sample], media: Path) -> None:
    """Write samples as Video-R1's records, in a JSON array.

    Video-R1's code loads the file. Paths are relative to `media`. A part of a clip keeps its bounds in the fields
    `clip_start` and `clip_end`. UserError for a sample whose file is not below `media`.
    """
    write_json_array(path, (_released(sample, media) for sample in samples))


def _released(sample: Sample, media: Path) -> dict[str, object]:
    if not Path(sample.media_path).is_relative_to(media):
        raise UserError(
            f"{sample.media_path} of sample {sample.sample_id} is not below {media}; "
            "name a folder above all media with --media"
        )
    seconds = {"clip_start": sample.clip_start, "clip_end": sample.clip_end}
    return {
        "problem_id": sample.sample_id,
        "problem": sample.problem,
        "data_type": sample.data_type,
        "problem_type": sample.problem_type,
        "options": list(sample.options),
        "process": sample.process or "",
        "solution": f"<answer>{sample.answer}</answer>",
        "path": f"./{Path(sample.media_path).relative_to(media)}",
        "data_source": sample.source,
        "original_question_type": sample.category,
        **{name: value for name, value in seconds.items() if value is not None},
    }


def _sample_id(raw: object, source: str, place: str) -> str:
    problem_id = raw.get("problem_id", place) if isinstance(raw, dict) else place
    return f"{source}-{problem_id}"[: MAX_NAME + len(source) + 1].encode(errors="replace").decode()


def _checked(raw: object, place: str, columns: Sequence[str] | None) -> Record:
    """The record.

    Unusable names each field that is wrong, its value, and the columns where one is missing.
    """
    if isinstance(raw, Unusable):
        raise raw
    if not isinstance(raw, dict):
        raise Unusable("invalid record", f"{place} is no record: {str(raw)[:200]}")
    try:
        return Record.model_validate(raw)
    except ValidationError as error:
        raise Unusable(
            "invalid record", "; ".join(_problems(error, place, raw if columns is None else columns))
        ) from None


def _problems(error: ValidationError, place: str, columns: Iterable[object]) -> Iterator[str]:
    """What is missing, in one clause, and each value that is wrong."""
    items = error.errors(include_url=False)
    missing = [str(item["loc"][0]) for item in items if item["type"] == "missing"]
    if "path" in missing and "data_type" in missing:
        missing.remove("data_type")  # it follows from the path
    if missing:
        found = ", ".join(str(name)[:MAX_SHOWN] for name in columns)
        yield (
            f"missing or empty: {', '.join(missing)}; the columns found are {found}; "
            "`columns` of the source says which field has another name"
        )
    for item in items:
        if item["type"] != "missing":
            yield f"{'.'.join(map(str, item['loc'])) or place}: {item['msg']}, not {repr(item['input'])[:MAX_SHOWN]}"


def _options_and_answer(record: Record) -> tuple[tuple[str, ...], str]:
    """The options with their letters, and the answer.

    Unusable where they cannot be right.
    """
    answer = extract_answer(record.solution) if "<answer>" in record.solution else record.solution.strip()
    if not answer:
        raise Unusable("empty answer", record.solution[:200])
    if record.problem_type in ("numerical", "regression") and parse_number(answer) is None:
        raise Unusable("answer is not a number", answer[:200])
    if record.clip_end is not None and record.clip_end <= (record.clip_start or 0.0):
        raise Unusable("empty clip", f"{record.clip_start or 0.0} s to {record.clip_end} s")
    if record.problem_type == "multiple choice":
        return letter_options(record.options or (), answer)
    return record.options or (), answer


def _media_path(record: Record, media: Place) -> Place:
    """The place of the record's medium.

    Unusable unless it is inside `media`, and unless a file or folder is there.
    """
    if isinstance(media, Address):
        return _object(record.path, media)
    if MARK in record.path:
        advice = "download the file, or name the server's folder as `media` of the source"
        raise Unusable("missing media", f"{record.path} is an address; {advice}")
    path = media / record.path
    real = os.path.realpath(path)
    if not _is_inside(real, _real_path(os.path.abspath(media))):
        raise Unusable("path escapes", f"{record.path} leads out of {media}")
    if not os.path.exists(real):
        raise Unusable("missing media", f"{path}; write / instead of \\" if "\\" in record.path else str(path))
    if not (os.path.isfile(real) or os.path.isdir(real)):
        raise Unusable("not a file", f"{path} is a named pipe, a socket or a device")
    return path


def _object(path: str, media: Address) -> Address:
    try:
        return media / path
    except ValueError as error:
        raise Unusable("path escapes", f"{path[:MAX_TEXT]} leads out of {media}: {error}") from None


def _is_inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder.rstrip(os.sep)}{os.sep}")


@lru_cache(maxsize=256)
def _real_path(folder: str) -> str:
    return os.path.realpath(folder)

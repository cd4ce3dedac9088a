"""Video-R1's records: checked into samples, and written back."""

import os
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stages.data.grading import extract_answer, option_letter, parse_number
from stages.data.sample import DataType, ProblemType, Reject, Sample, Split
from stages.run.errors import UserError
from stages.run.files import write_json_array

MAX_TEXT = 20_000  # characters; the longest field of the released 260k set is far below
MAX_NAME = 200  # of a record's id
MAX_OPTIONS = 26  # one letter each

Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
Text = Annotated[str, Field(max_length=MAX_TEXT)]
Words = Annotated[str, Field(min_length=1, max_length=MAX_TEXT, pattern=r"\S")]
MediaPath = Annotated[str, Field(min_length=1, max_length=4096, pattern=r"^[^\x00]*[^\s\x00][^\x00]*$")]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Record(BaseModel):
    """A released record (paper.md §4).

    Fields that the pipeline does not use are ignored.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    problem_id: Annotated[int, Field(strict=True)] | Name
    problem: Words
    data_type: DataType
    problem_type: ProblemType
    options: Annotated[tuple[Words, ...], Field(max_length=MAX_OPTIONS)] | None = None
    solution: Words
    path: MediaPath
    process: Text | None = None
    original_question_type: Text = ""
    clip_start: Seconds | None = None
    clip_end: Seconds | None = None


def read_sample(raw: object, source: str, media: Path, split: Split, place: str, licence: str = "") -> Sample | Reject:
    """One record as a sample, or as a reject with its reason.

    The record's path starts from the folder `media`; a path that leaves the folder, also through a link, is rejected.
    `place` says where the record stands in its file. The sample's media hash is still empty.
    """
    problem_id = raw.get("problem_id", place) if isinstance(raw, dict) else place
    sample_id = f"{source}-{problem_id}"[: MAX_NAME + len(source) + 1].encode(errors="replace").decode()

    def reject(reason: str, detail: str) -> Reject:
        return Reject(sample_id=sample_id, stage="ingest", reason=reason, detail=detail)

    if not isinstance(raw, dict):
        return reject("invalid record", f"{place} is no record: {str(raw)[:200]}".encode(errors="replace").decode())
    try:
        record = Record.model_validate(raw)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, item['loc'])) or place}: {item['msg']}" for item in error.errors()]
        return reject("invalid record", "; ".join(problems))
    answer = extract_answer(record.solution) if "<answer>" in record.solution else record.solution.strip()
    if problem := _answer_problem(answer, record):
        return reject(*problem)
    path = media / record.path
    real = os.path.realpath(path)
    if not _is_inside(real, _real_path(os.path.abspath(media))):
        return reject("path escapes", f"{record.path} leads out of {media}")
    if not os.path.exists(real):
        return reject("missing media", str(path))
    return Sample(
        sample_id=sample_id,
        source=source,
        data_type=record.data_type,
        problem_type=record.problem_type,
        problem=record.problem,
        options=record.options or (),
        answer=answer or "",
        process=record.process or None,
        media_path=str(path),
        media_sha256="",
        clip_start=record.clip_start,
        clip_end=record.clip_end,
        split=split,
        category=record.original_question_type,
        licence=licence,
    )


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


def _is_inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder.rstrip(os.sep)}{os.sep}")


@lru_cache(maxsize=256)
def _real_path(folder: str) -> str:
    return os.path.realpath(folder)


def _answer_problem(answer: str | None, record: Record) -> tuple[str, str] | None:
    """Reason and detail when answer or clip bounds cannot be right."""
    if not answer:
        return "empty answer", record.solution[:200]
    if record.problem_type == "multiple choice":
        letters = [option_letter(option) for option in record.options or ()]
        if option_letter(answer) not in letters or None in letters:
            return "answer not among the options", f"answer {answer!r}, options {list(record.options or ())}"[:500]
        if len(set(letters)) < len(letters):
            return "ambiguous options", f"two of {list(record.options or ())} have one letter"[:500]
    if record.problem_type in ("numerical", "regression") and parse_number(answer) is None:
        return "answer is not a number", answer[:200]
    if record.clip_end is not None and record.clip_end <= (record.clip_start or 0.0):
        return "empty clip", f"{record.clip_start or 0.0} s to {record.clip_end} s"
    return None

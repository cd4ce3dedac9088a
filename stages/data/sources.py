"""Video-R1's own record files, read and written at the pipeline's edge: one record in, one draft of a sample or one reject out."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stages.data.answer import extract_answer, option_letter, parse_number
from stages.data.errors import UserError
from stages.data.files import write_atomic
from stages.data.params import Params
from stages.data.sample import DataType, ProblemType, Reject, Sample, Split

MAX_TEXT = 20_000  # characters; the longest field of the released 260k set is far below


class Source(Params):
    """One entry of `ingest.sources`: a file of Video-R1 records and the folder their media paths start from."""

    name: str = Field(pattern=r"^[\w.-]+$", description="prefix of its sample ids")
    records: str = Field(description="JSON array or JSON Lines, relative to `ingest.root`")
    media: str = Field(default=".", description="folder that record paths are relative to, relative to `ingest.root`")
    split: Split = Field(default="train", description="what may use it: sft, rl, both (train)")
    limit: int | None = Field(default=None, ge=1, description="take only the first so many records")


Text = Annotated[str, Field(max_length=MAX_TEXT)]
Words = Annotated[str, Field(min_length=1, max_length=MAX_TEXT, pattern=r"\S")]


class Record(BaseModel):
    """The fields of a released record that the pipeline reads (paper.md §4); others are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    problem_id: int | str
    problem: Words
    data_type: DataType
    problem_type: ProblemType
    options: tuple[Words, ...] | None = None
    solution: Words
    path: Words
    process: Text | None = None
    original_question_type: Text = ""
    clip_start: float | None = Field(default=None, ge=0)
    clip_end: float | None = Field(default=None, gt=0)


def read_records(path: Path) -> Iterator[tuple[str, Any]]:
    """Each record of a JSON array or JSON Lines file with where it stands ("record 3", "line 3").

    A line that is not JSON comes as a string. UserError when the file as a whole cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
        if not text.lstrip().startswith("["):
            yield from ((f"line {number}", _line(line)) for number, line in enumerate(text.splitlines(), 1) if line.strip())
            return
        records = json.loads(text)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; mend `records` or `root` in params.yaml") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{path}: not readable as JSON ({error}); mend the file or write one JSON object per line") from None
    yield from ((f"record {number}", record) for number, record in enumerate(records, 1))


def read_source(source: Source, root: Path) -> Iterator[Sample | Reject]:
    """The source's records as samples whose `media_sha256` is still empty, or as rejects, in file order.

    Media paths are resolved inside the source's media folder; a path that leaves it, also through a link, is rejected.
    """
    seen: set[str] = set()
    for number, (place, raw) in enumerate(read_records(root / source.records)):
        if source.limit is not None and number >= source.limit:
            return
        draft = read_sample(raw, source.name, root / source.media, source.split, place)
        if isinstance(draft, Sample) and draft.sample_id in seen:
            draft = Reject(sample_id=draft.sample_id, stage="ingest", reason="duplicate id", detail=f"{place} of {source.records}")
        seen.add(draft.sample_id)
        yield draft


def read_sample(raw: Any, source: str, media: Path, split: Split, place: str) -> Sample | Reject:
    """One record as a sample (without its media hash) or as a reject that says what is wrong with it."""
    problem_id = raw.get("problem_id", place) if isinstance(raw, dict) else place
    sample_id = f"{source}-{problem_id}"

    def reject(reason: str, detail: str) -> Reject:
        return Reject(sample_id=sample_id, stage="ingest", reason=reason, detail=detail)

    try:
        record = Record.model_validate(raw)
    except ValidationError as error:
        return reject(
            "invalid record",
            "; ".join(f"{'.'.join(map(str, item['loc'])) or place}: {item['msg']}" for item in error.errors()),
        )
    answer = extract_answer(record.solution) if "<answer>" in record.solution else record.solution.strip()
    if problem := _answer_problem(answer, record):
        return reject(*problem)
    path = media / record.path
    if not path.resolve().is_relative_to(media.resolve()):
        return reject("path escapes", f"{record.path} leads out of {media}")
    if not path.exists():
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
    )


def write_records(path: Path, samples: Iterable[Sample], media: Path) -> None:
    """Write samples as a JSON array in Video-R1's own fields, so that its code loads them; paths are relative to `media`."""
    records = [
        {
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
        }
        for sample in samples
    ]
    write_atomic(path, json.dumps(records, ensure_ascii=False, indent=1) + "\n")


def _line(line: str) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        return line


def _answer_problem(answer: str | None, record: Record) -> tuple[str, str] | None:
    if not answer:
        return "empty answer", record.solution[:200]
    if record.problem_type == "multiple choice":
        letters = [option_letter(option) for option in record.options or ()]
        if option_letter(answer) not in letters or None in letters:
            return "answer not among the options", f"answer {answer!r}, options {list(record.options or ())}"[:500]
    if record.problem_type in ("numerical", "regression") and parse_number(answer) is None:
        return "answer is not a number", answer[:200]
    if record.clip_start is not None and record.clip_end is not None and record.clip_start >= record.clip_end:
        return "empty clip", f"{record.clip_start} s to {record.clip_end} s"
    return None

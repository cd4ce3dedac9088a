"""The sample, which goes through the whole pipeline, and the reject."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from stages.run.errors import UserError
from stages.run.files import iterate_rows, write_table
from stages.run.schemas import schema_of

DataType = Literal["video", "image"]
ProblemType = Literal["multiple choice", "numerical", "OCR", "free-form", "regression"]
Split = Literal["sft", "rl", "train", "test"]
Flag = Literal["black", "frozen", "short", "few keyframes"]


class Sample(BaseModel):
    """One question about one clip or image.

    options: whole lines ("A. left"). process: the chain of thought with its tags ("<think>…</think>"), None before
    annotation. clip_start, clip_end: seconds, None for the whole clip. split: who may use the sample, which is SFT, RL,
    both ("train") or evaluation only ("test"). category: the source's own question type. licence: as the source's entry
    in params.yaml says, "" for none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sample_id: str
    source: str
    data_type: DataType
    problem_type: ProblemType
    problem: str
    options: tuple[str, ...] = ()
    answer: str
    process: str | None = None
    media_path: str
    media_sha256: str
    clip_start: float | None = None
    clip_end: float | None = None
    split: Split = "train"
    category: str = ""
    licence: str = ""


class Reject(BaseModel):
    """A sample that was left out.

    stage: the stage that left it out. reason: a fixed word or two, to count by. detail: for a person to read.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sample_id: str
    stage: str
    reason: str
    detail: str = ""


class Unusable(Exception):
    """Why a record cannot become a sample.

    The reason and detail of its reject.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


SAMPLE_SCHEMA = schema_of(Sample, exact=True)
# Of the training sets: a sample, and which row of the frame store is shown with it.
TRAINING_SCHEMA = SAMPLE_SCHEMA.append(pa.field("frame_key", pa.string()))
REJECT_SCHEMA = schema_of(Reject, exact=True)


def write_samples(path: Path, samples: Iterable[Sample]) -> None:
    """Write samples to one Parquet file, in the order given."""
    write_table(path, (sample.model_dump() for sample in samples), SAMPLE_SCHEMA)


def read_samples(path: Path) -> list[Sample]:
    """Read back what `write_samples` wrote, in order."""
    return list(iterate_samples(path))


def iterate_samples(path: Path) -> Iterator[Sample]:
    """The samples of a table in order, few in memory.

    Columns that are not a sample's own are left out.
    """
    return (Sample(**row) for row in iterate_rows(path, SAMPLE_SCHEMA.names))


def write_rejects(path: Path, rejects: Iterable[Reject]) -> None:
    """Write rejects to one Parquet file, in the order given."""
    write_table(path, (reject.model_dump() for reject in rejects), REJECT_SCHEMA)


def limit_rejects(rejected: int, kept: int, limit: float, parameter: str, what: str, table: Path) -> None:
    """Refuse a table of which too little is kept.

    UserError when nothing is kept, or when more than the share `limit` of all is rejected.

    `parameter` is the name of the limit in params.yaml, `what` the plural of what is counted, `table` the file with the
    reasons.
    """
    total, reasons = rejected + kept, f"the reasons are in {table}; correct the source"
    if rejected > limit * total:
        raise UserError(
            f"{rejected} of {total} {what} are unusable, more than {parameter} = {limit:g}; "
            f"{reasons} or raise the limit"
        )
    if not kept:
        raise UserError(f"none of the {total} {what} is usable; {reasons}")


def read_rejects(path: Path) -> list[Reject]:
    """Read back what `write_rejects` wrote."""
    return [Reject(**row) for row in pq.read_table(path).to_pylist()]

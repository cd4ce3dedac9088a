"""Samples together with what earlier stages know of them."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar, cast

from stages.data.annotations import AnnotationRow
from stages.data.sample import Sample, iterate_samples
from stages.run.errors import UserError
from stages.run.files import iterate_rows
from stages.video.clips import ClipRow
from stages.video.frame_store import FrameKeyRow

Row = TypeVar("Row", bound=Mapping[str, object])


class Candidate(NamedTuple):
    """A sample with what the stages before the filter know of it.

    answers: the teacher's, in the table's order. frame_key: its row in the frame store; None when it has no frames, ""
    when no table of frame keys was given. clip: facts of its clip, None when they are not known.
    """

    sample: Sample
    answers: list[AnnotationRow]
    frame_key: str | None
    clip: ClipRow | None


def read_candidates(
    samples: Path, annotations: Path, frame_keys: Path | None, clips: Path | None
) -> Iterator[Candidate]:
    """The samples in order, each with its rows of the other tables.

    All tables are read once, side by side, so that memory does not grow with them. UserError for a row that belongs to
    no sample.
    """
    answers = Follower(annotations, AnnotationRow)
    keys = Follower(frame_keys, FrameKeyRow)
    facts = Follower(clips, ClipRow)
    for sample in iterate_samples(samples):
        key = next(iter(keys.rows_of(sample.sample_id)), None)
        yield Candidate(
            sample,
            answers.rows_of(sample.sample_id),
            _frame_key(key, frame_keys),
            next(iter(facts.rows_of(sample.sample_id)), None),
        )
    for follower in (answers, keys, facts):
        follower.finish()


class Follower(Generic[Row]):
    """Reads a table in step with the samples, whose order it has."""

    def __init__(self, path: Path | None, row_type: type[Row]) -> None:
        """`row_type`: a TypedDict of the columns to read.

        Without a path the table counts as empty.
        """
        self._path = path
        rows = iterate_rows(path, list(row_type.__annotations__)) if path else iter(())
        self._rows = cast(Iterator[Row], rows)
        self._next = next(self._rows, None)

    def rows_of(self, sample_id: str) -> list[Row]:
        """The sample's rows; call it for each sample in order."""
        rows: list[Row] = []
        while self._next is not None and self._next["sample_id"] == sample_id:
            rows.append(self._next)
            self._next = next(self._rows, None)
        return rows

    def finish(self) -> None:
        """UserError when rows are left over.

        Such rows belong to no sample or stand in another order.
        """
        if self._next is not None:
            raise UserError(
                f"{self._path} has rows for {self._next['sample_id']}, which the samples do not have at this place; "
                "run the stage that writes the file again"
            )


def _frame_key(row: FrameKeyRow | None, table: Path | None) -> str | None:
    if row is not None:
        return row["frame_key"]
    return None if table else ""

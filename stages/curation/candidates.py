"""Samples together with what earlier stages know of them."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from stages.data.annotations import AnnotationRow
from stages.data.follower import Follower
from stages.data.sample import Sample, iterate_samples
from stages.video.clips import ClipRow
from stages.video.frame_store import FrameKeyRow


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


def _frame_key(row: FrameKeyRow | None, table: Path | None) -> str | None:
    if row is not None:
        return row["frame_key"]
    return None if table else ""

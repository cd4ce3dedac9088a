"""Record files and media of the public benchmarks, in a local folder."""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from stages.data.record_files import read_records
from stages.data.records import read_sample
from stages.data.sample import Reject, Sample, Unusable
from stages.run.errors import UserError

RECORD_SUFFIXES = (".parquet", ".json", ".jsonl", ".csv")
VIDEO_SUFFIXES = (".mp4", ".MP4", ".webm", ".avi", ".mkv", ".mov")

Fields = dict[str, Any]
"""The fields of one JSON or Parquet record, before anything checked them."""

Rows = Iterator[tuple[str, object]]
"""Records with their places in a file."""

_OPTION = re.compile(r"\s*\(?([A-J])[.):]\s*(\S.*)")


def read_benchmark(
    root: Path,
    name: str,
    video_r1: Callable[[Fields], Fields],
    official: Callable[[Fields, Path], Fields],
    *official_files: str,
    rows: Callable[[Path], Rows] | None = None,
) -> Iterator[Sample | Reject]:
    """The questions of the benchmark `name` in `root`.

    They come from Video-R1's `eval_<name>.json` where that file is there. Otherwise they come from the official files:
    of the patterns `official_files` the first one that matches a file counts. `rows` reads a file whose layout is its
    own. `video_r1` and `official` turn a record into the fields of a Video-R1 record; `official` also gets the file of
    the record. A record without `problem_id` is named after its place in the file. The media path is looked for in
    `root`. A question with the id of an earlier one is a reject. UserError when no file of either kind is there.
    """
    media, seen = MediaFolder(root), set[str]()
    for record in _records(root, name, video_r1, official, official_files, rows or record_rows):
        draft = _draft(record, name, media)
        if draft.sample_id in seen:
            draft = Reject(sample_id=draft.sample_id, stage="benchmark", reason="duplicate id", detail=record.place)
        seen.add(draft.sample_id)
        yield draft


def video_r1_records(root: Path, name: str) -> Path:
    """The path that Video-R1's own evaluation file of a benchmark has."""
    return root / f"eval_{name.replace('_', '')}.json"


class MediaFolder:
    """The media of one benchmark, under any suffix and enclosing folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def find(self, path: str) -> Path | None:
        """The file or folder of frames at a record's path, or None.

        Video-R1's files name every medium `./Evaluation/<Bench>/….mp4`, also a WebM or AVI file or a folder of frames.
        Archives unpack into folders of their own, so the path after `Evaluation/<Bench>` may also be the end of a
        longer path. It must then be the end of one medium's path only, because base names are not unique; links to the
        same file count once.
        """
        parts = Path(path).parts
        inner = parts[2:] if parts[:1] == ("Evaluation",) else parts
        for named in (self.root.joinpath(*parts), self.root.joinpath(*inner)):
            if media := self._with_its_suffix(named):
                return media
        tail = Path(*inner).with_suffix("").parts
        deeper = [
            media for media in self._by_stem.get(tail[-1], []) if media.with_suffix("").parts[-len(tail) :] == tail
        ]
        return deeper[0] if len({os.path.realpath(media) for media in deeper}) == 1 else None

    def _with_its_suffix(self, named: Path) -> Path | None:
        """The path as it is, with a video's suffix, or without one."""
        for media in (named, *(named.with_suffix(suffix) for suffix in VIDEO_SUFFIXES), named.with_suffix("")):
            # os.path.exists is False for a name that is too long, where Path.exists raises.
            if os.path.exists(media) and media != self.root:
                return media
        return None

    @cached_property
    def _by_stem(self) -> dict[str, list[Path]]:
        """Videos and folders by their name without its suffix."""
        found: dict[str, list[Path]] = {}
        for media in sorted(self.root.rglob("*")):
            if media.suffix in VIDEO_SUFFIXES or media.is_dir():
                found.setdefault(media.stem, []).append(media)
        return found


@dataclass(frozen=True)
class _Record:
    """A record, its place in the files, and its layout's converter."""

    place: str
    raw: object
    convert: Callable[[Fields], Fields]


def _records(
    root: Path,
    name: str,
    video_r1: Callable[[Fields], Fields],
    official: Callable[[Fields, Path], Fields],
    official_files: tuple[str, ...],
    rows: Callable[[Path], Rows],
) -> Iterator[_Record]:
    video_r1_file = video_r1_records(root, name)
    if video_r1_file.is_file():
        yield from (_Record(place, raw, video_r1) for place, raw in read_records(video_r1_file))
        return
    files = _first_match(root, official_files)
    if not files:
        wanted = " nor ".join([video_r1_file.name, *official_files])
        raise UserError(
            f"{root}: neither {wanted} is there; docs/evaluation.md says where each benchmark's files belong"
        )
    for file in files:
        folder = "-".join(file.relative_to(root).with_suffix("").parts)
        for place, raw in rows(file):
            yield _Record(f"{folder}-{place}", raw, lambda fields, file=file: official(fields, file))


def _first_match(root: Path, patterns: tuple[str, ...]) -> list[Path]:
    """The record files of the first pattern that matches any."""
    for pattern in patterns:
        suffixes = (*RECORD_SUFFIXES, Path(pattern).suffix)  # of a pattern that names its own
        if files := sorted(path for path in root.glob(pattern) if path.is_file() and path.suffix in suffixes):
            return files
    return []


def record_rows(file: Path) -> Rows:
    """The records of a Parquet, JSON, JSON Lines or CSV file."""
    if file.suffix == ".parquet":
        return ((f"row {number}", row) for number, row in enumerate(pq.read_table(file).to_pylist(), 1))
    return read_records(file)


def nested_rows(file: Path) -> Rows:
    """One record for each question of a video's list `qa`.

    The fields of the question stand before those of its video. A record of another form comes as it is.
    """
    for place, raw in record_rows(file):
        if isinstance(raw, dict) and isinstance(raw.get("qa"), list):
            for number, question in enumerate(raw["qa"], 1):
                yield f"{place}-{number}", {**raw, **question} if isinstance(question, dict) else question
        else:
            yield place, raw


def choice(problem: str, options: Sequence[str], solution: str, path: str, category: str, **others: object) -> Fields:
    """The fields of a multiple-choice question about a video, and `others`."""
    return {
        "problem": problem,
        "data_type": "video",
        "problem_type": "multiple choice",
        "options": options,
        "solution": solution,
        "path": path,
        "original_question_type": category,
        **others,
    }


def split_options(text: str) -> tuple[str, list[str]]:
    """A question whose options are lines of its text, and the options.

    The lines begin with `A.`, `A)`, `A:` or `(A)`, up to J, and become "A. left".
    """
    lines = [(line, _OPTION.fullmatch(line)) for line in text.splitlines()]
    options = [f"{found[1]}. {found[2].strip()}" for _, found in lines if found]
    return "\n".join(line for line, found in lines if not found).strip(), options


def _draft(record: _Record, name: str, media: MediaFolder) -> Sample | Reject:
    """The record as a sample, or as a reject that says why."""
    place = record.place.replace(" ", "-")
    try:
        if isinstance(record.raw, Unusable):
            raise record.raw
        if not isinstance(record.raw, Mapping):
            raise TypeError("the record is no JSON object")
        fields = record.convert(dict(record.raw))
        found = media.find(fields["path"])
    except Unusable as error:
        return Reject(sample_id=f"{name}-{place}", stage="benchmark", reason=error.reason, detail=error.detail)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        detail = f"{type(error).__name__}: {error}"
        return Reject(sample_id=f"{name}-{place}", stage="benchmark", reason="invalid record", detail=detail)
    path = os.path.relpath(found, media.root) if found else fields["path"]
    draft = read_sample({"problem_id": place} | fields | {"path": path}, name, media.root, "test", place)
    return draft.model_copy(update={"stage": "benchmark"}) if isinstance(draft, Reject) else draft

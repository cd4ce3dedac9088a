"""Record files and media of the public benchmarks: Video-R1's evaluation files and the official hub layout, from a local folder."""

import os
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from stages.data.record_files import read_records
from stages.data.records import read_sample
from stages.data.sample import Reject, Sample
from stages.run.errors import UserError

VIDEO_SUFFIXES = (".mp4", ".MP4", ".webm", ".avi", ".mkv", ".mov")
Fields = dict[str, Any]


def read_benchmark(
    root: Path,
    name: str,
    video_r1: Callable[[Fields], Fields],
    official: Callable[[Fields, Path], Fields],
    *official_files: str,
) -> Iterator[Sample | Reject]:
    """The questions of one benchmark in `root`: from Video-R1's `eval_<name>.json` where it lies there, else from the official files.

    Each of the two functions turns a record into the fields of a Video-R1 record; without `problem_id` the place in the file names
    it. `official` is also given the file it stands in. The media path is then looked for in `root`. A question whose id was there
    before is a reject. Of the patterns of `official_files` the first one that finds any counts. UserError when neither kind of file is
    there.
    """
    video_r1_file = video_r1_records(root, name)
    if video_r1_file.is_file():
        records = ((place, raw, video_r1) for place, raw in read_records(video_r1_file))
    else:
        found = (sorted(path for path in root.glob(pattern) if path.is_file()) for pattern in official_files)
        files = next((files for files in found if files), [])
        if not files:
            wanted = " nor ".join([video_r1_file.name, *official_files])
            raise UserError(
                f"{root}: neither {wanted} is there; docs/evaluation.md says where each benchmark's files belong"
            )
        records = (
            (f"{_place(file, root)}-{place}", raw, lambda fields, file=file: official(fields, file))
            for file in files
            for place, raw in _rows(file)
        )
    media, seen = MediaFolder(root), set[str]()
    for place, raw, convert in records:
        draft = _draft(raw, convert, name, media, place.replace(" ", "-"))
        if draft.sample_id in seen:
            draft = Reject(sample_id=draft.sample_id, stage="benchmark", reason="duplicate id", detail=place)
        seen.add(draft.sample_id)
        yield draft


def video_r1_records(root: Path, name: str) -> Path:
    """Where Video-R1's own evaluation file of a benchmark lies, if it is there."""
    return root / f"eval_{name.replace('_', '')}.json"


class MediaFolder:
    """The media of one benchmark, whatever suffix or enclosing folders they really have."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def find(self, path: str) -> Path | None:
        """The file (or folder of frames) that a record's path means, or None.

        Video-R1's files call everything `./Evaluation/<Bench>/….mp4`, also what is webm, avi or a folder of frames. Archives unpack
        into folders of their own, so what follows there may also be the end of a longer path, if of exactly one (links aside): base
        names alone are not unique.
        """
        parts = Path(path).parts
        inner = parts[2:] if parts[:1] == ("Evaluation",) else parts
        for candidate in (self.root.joinpath(*parts), self.root.joinpath(*inner)):
            for media in (
                candidate,
                *(candidate.with_suffix(suffix) for suffix in VIDEO_SUFFIXES),
                candidate.with_suffix(""),
            ):
                if (
                    os.path.exists(media) and media != self.root
                ):  # unlike Path.exists, False for a name that is too long
                    return media
        tail = Path(*inner).with_suffix("").parts
        deeper = [
            media for media in self._by_stem.get(tail[-1], []) if media.with_suffix("").parts[-len(tail) :] == tail
        ]
        return deeper[0] if len({os.path.realpath(media) for media in deeper}) == 1 else None

    @cached_property
    def _by_stem(self) -> dict[str, list[Path]]:
        """Videos and folders by name without suffix."""
        found: dict[str, list[Path]] = {}
        for media in sorted(self.root.rglob("*")):
            if media.suffix in VIDEO_SUFFIXES or media.is_dir():
                found.setdefault(media.stem, []).append(media)
        return found


def _draft(raw: Any, convert: Callable[[Fields], Fields], name: str, media: MediaFolder, place: str) -> Sample | Reject:
    try:
        fields = convert(dict(raw))
        found = media.find(fields["path"])
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        return Reject(
            sample_id=f"{name}-{place}",
            stage="benchmark",
            reason="invalid record",
            detail=f"{type(error).__name__}: {error}",
        )
    fields = {"problem_id": place} | fields | {"path": os.path.relpath(found, media.root) if found else fields["path"]}
    draft = read_sample(fields, name, media.root, "test", place)
    return draft.model_copy(update={"stage": "benchmark"}) if isinstance(draft, Reject) else draft


def _place(file: Path, root: Path) -> str:
    return "-".join(file.relative_to(root).with_suffix("").parts)


def _rows(file: Path) -> Iterator[tuple[str, Mapping[str, Any] | Any]]:
    if file.suffix == ".parquet":
        return ((f"row {number}", row) for number, row in enumerate(pq.read_table(file).to_pylist(), 1))
    return read_records(file)

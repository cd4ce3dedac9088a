"""Record files and media of the public benchmarks: Video-R1's evaluation files and the official hub layout, from a local folder."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from stages.data.errors import UserError
from stages.data.records import read_records, read_sample
from stages.data.sample import Reject, Sample

VIDEO_SUFFIXES = (".mp4", ".MP4", ".webm", ".avi", ".mkv", ".mov")
Fields = dict[str, Any]


def read_benchmark(
    root: Path,
    name: str,
    video_r1: Callable[[Fields], Fields],
    official: Callable[[Fields, Path], Fields],
    official_files: str,
) -> Iterator[Sample | Reject]:
    """The questions of one benchmark in `root`: from Video-R1's `eval_<name>.json` where it lies there, else from the official files.

    Each of the two functions turns a record into the fields of a Video-R1 record; without `problem_id` the place in the file names
    it. `official` is also given the file it stands in. The media path is then looked for in `root`. UserError when neither kind of
    file is there.
    """
    video_r1_file = root / f"eval_{name.replace('_', '')}.json"
    if video_r1_file.is_file():
        records = ((place, raw, video_r1) for place, raw in read_records(video_r1_file))
    else:
        files = sorted(root.glob(official_files))
        if not files:
            raise UserError(f"{root}: neither {video_r1_file.name} nor {official_files} is there; mend `root` in params.yaml")
        records = (
            (f"{file.stem}-{place}", raw, lambda fields, file=file: official(fields, file)) for file in files for place, raw in _rows(file)
        )
    for place, raw, convert in records:
        yield _draft(raw, convert, name, root, place.replace(" ", "-"))


def find_media(root: Path, path: str) -> Path | None:
    """The file (or folder of frames) that a record's path means, inside `root`, or None.

    Video-R1's files call everything `./Evaluation/<Bench>/….mp4`, also what is webm, avi or a folder of frames.
    """
    relative = Path(path)
    for candidate in (root / relative, root / Path(*relative.parts[1:]) if relative.parts[:1] == ("Evaluation",) else None):
        if candidate is None:
            continue
        for media in (candidate, *(candidate.with_suffix(suffix) for suffix in VIDEO_SUFFIXES), candidate.with_suffix("")):
            if media.exists() and media != root:
                return media
    return None


def _draft(raw: Any, convert: Callable[[Fields], Fields], name: str, root: Path, place: str) -> Sample | Reject:
    try:
        fields = convert(dict(raw))
        media = find_media(root, fields["path"])
    except (KeyError, TypeError, ValueError) as error:
        return Reject(sample_id=f"{name}-{place}", stage="benchmark", reason="invalid record", detail=f"{type(error).__name__}: {error}")
    fields = {"problem_id": place} | fields | {"path": str(media.relative_to(root)) if media else fields["path"]}
    draft = read_sample(fields, name, root, "test", place)
    return draft.model_copy(update={"stage": "benchmark"}) if isinstance(draft, Reject) else draft


def _rows(file: Path) -> Iterator[tuple[str, Mapping[str, Any] | Any]]:
    if file.suffix == ".parquet":
        return ((f"row {number}", row) for number, row in enumerate(pq.read_table(file).to_pylist(), 1))
    return read_records(file)

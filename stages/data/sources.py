"""Where samples come from: the entries of `ingest.sources`, and each one's rows as drafts of samples or as rejects."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, Self, TypeGuard, get_args

from pydantic import Field, model_validator

from stages.data.grading import extract_answer, letter_of, lettered, option_letter
from stages.data.hub import read_hub
from stages.data.records import MAX_OPTIONS, read_records, read_sample
from stages.data.sample import Reject, Sample, Split
from stages.run.errors import UserError
from stages.run.files import write_atomic
from stages.run.params import Params

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
MEDIA_COLUMNS = ("path", "video", "image")  # where a row's media is looked for, unless `columns` says

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


class Source(Params):
    """One entry of `ingest.sources`. It names one of `records`, `hub` and `folder`; all paths are relative to `ingest.root`."""

    name: str = Field(pattern=r"^[\w.-]+$", description="prefix of its sample ids")
    records: str | None = Field(default=None, description="file of Video-R1 records: a JSON array, JSON Lines or CSV")
    media: str = Field(default=".", description="with records or hub: the folder that their media paths start from")
    hub: str | None = Field(
        default=None, description="a folder (Parquet, Arrow, imagefolder, videofolder) or the name of a hub dataset"
    )
    config: str | None = Field(default=None, description="with hub: its configuration")
    hub_split: str = Field(default="train", description="with hub: its split")
    revision: str | None = Field(default=None, description="with hub: commit or tag, so that a run can be repeated")
    folder: str | None = Field(default=None, description="a folder of media")
    questions: str = Field(
        default="questions.csv", description="with folder: the CSV, JSON Lines or JSON file of questions inside it"
    )
    columns: dict[RecordField, str] = Field(
        default={}, description="record field: the source's column, where they are not named alike"
    )
    defaults: dict[RecordField, str] = Field(default={}, description="record field: its value where a row has none")
    split: Split = Field(default="train", description="what may use it: sft, rl, both (train)")
    weight: float = Field(
        default=1.0, gt=0, le=1, description="share of its records to take, chosen by a hash of their ids"
    )
    limit: int | None = Field(default=None, ge=1, description="take only the first so many records of those")
    licence: str = Field(
        default="", max_length=200, description="of its media and questions; goes along with every sample"
    )
    enabled: bool = True

    @model_validator(mode="after")
    def _is_one_kind(self) -> Self:
        kinds = [kind for kind in ("records", "hub", "folder") if getattr(self, kind) is not None]
        if len(kinds) != 1:
            raise ValueError(
                f"a source names one of records, hub and folder; this one names {' and '.join(kinds) or 'none'}"
            )
        only = {
            "media": ("records", "hub"),
            "config": ("hub",),
            "hub_split": ("hub",),
            "revision": ("hub",),
            "questions": ("folder",),
        }
        if stray := [name for name, users in only.items() if name in self.model_fields_set and kinds[0] not in users]:
            raise ValueError(f"a source of {kinds[0]} has no {' and no '.join(stray)}")
        return self

    def takes(self, sample_id: str) -> bool:
        """Whether the record is in the share that `weight` keeps; a larger weight keeps the same ones and more."""
        number = int.from_bytes(hashlib.sha256(sample_id.encode()).digest()[:8], "big")
        return number < self.weight * 2**64


def read_source(
    source: Source, root: Path, embedded: Path | None = None, seen: set[str] | None = None
) -> Iterator[Sample | Reject]:
    """The source's records as samples whose `media_sha256` is still empty, or as rejects, in the source's order.

    Media that a dataset holds as bytes is written to the folder `embedded`. `seen` holds the ids of earlier sources.
    """
    seen = set() if seen is None else seen
    taken = 0
    for place, row in _rows(source, root):
        raw, media = _record(row, place, source, root, embedded)
        draft = read_sample(raw, source.name, media, source.split, place, source.licence)
        if not source.takes(draft.sample_id):
            continue
        if isinstance(draft, Sample) and draft.sample_id in seen:
            draft = Reject(
                sample_id=draft.sample_id,
                stage="ingest",
                reason="duplicate id",
                detail=f"{place} of source {source.name}",
            )
        seen.add(draft.sample_id)
        yield draft
        taken += 1
        if taken == source.limit:
            return


def _rows(source: Source, root: Path) -> Iterator[tuple[str, Any]]:
    if source.hub is not None:
        rows = read_hub(source.hub, root / source.hub, source.config, source.hub_split, source.revision)
        return ((f"row {number}", row) for number, row in enumerate(rows, 1))
    return read_records(root / (source.records or f"{source.folder}/{source.questions}"))


def _record(row: Any, place: str, source: Source, root: Path, embedded: Path | None) -> tuple[Any, Path]:
    """A row as Video-R1's record, and the folder its path starts from. What is no row stays as it is, to be rejected."""
    media = root / (source.folder or source.media)
    if not isinstance(row, dict):
        return row, media
    fields: dict[str, Any] = {**source.defaults}
    for name in get_args(RecordField):
        value = row.get(source.columns.get(name) or (_media_column(row) if name == "path" else name))
        if value not in (None, ""):
            fields[name] = value
    fields.setdefault("problem_id", place.split()[-1])
    if _is_media(path := fields.get("path")):
        media, fields["path"] = _undecoded(path, root / source.hub if source.hub else media, embedded)
    return _completed(fields), media


def _media_column(row: Mapping[str, Any]) -> str:
    return next((name for name in MEDIA_COLUMNS if name in row), "path")


def _is_media(cell: Any) -> TypeGuard[Mapping[str, Any]]:
    """Whether it is a media cell as `datasets` has it."""
    return (
        isinstance(cell, Mapping)
        and isinstance(cell.get("path"), str | None)
        and isinstance(cell.get("bytes"), bytes | None)
    )


def _undecoded(media: Mapping[str, Any], folder: Path, embedded: Path | None) -> tuple[Path, str | None]:
    """Folder and path of an undecoded media cell: of the file it names, or of the one its bytes are written to, named by their hash."""
    if media.get("bytes") and embedded is not None:
        suffix = Path(media.get("path") or "").suffix.lower()
        name = hashlib.sha256(media["bytes"]).hexdigest() + (
            suffix if suffix[1:].isalnum() and len(suffix) < 10 else ""
        )
        if not (embedded / name).exists():
            write_atomic(embedded / name, media["bytes"])
        return embedded, name
    path, real = media.get("path"), folder.resolve()
    return folder, str(Path(path).relative_to(real)) if path and Path(path).is_relative_to(real) else path


def _completed(fields: dict[str, Any]) -> dict[str, Any]:
    """What a table of questions may leave to be understood: options in one cell ("left|right") or without letters, their text as the
    answer, the answer type where there are options, and the data type."""
    options, solution = fields.get("options"), fields.get("solution")
    if isinstance(options, str) and "|" in options:
        options = [option.strip() for option in options.split("|")]
    if isinstance(solution, int | float):
        fields["solution"] = solution = str(solution)
    if isinstance(options, list) and options and all(isinstance(option, str) for option in options):
        fields.setdefault("problem_type", "multiple choice")
        if len(options) <= MAX_OPTIONS and not any(map(option_letter, options)):
            fields["solution"] = (
                letter_of(extract_answer(solution) or solution, options) if isinstance(solution, str) else solution
            )
            options = lettered(options)
        fields["options"] = options
    if fields.get("data_type") == "frame" and isinstance(fields.get("path"), str):
        # Video-R1's name for a folder of frames, which its evaluation files nevertheless call .mp4
        fields |= {"data_type": "video", "path": fields["path"].removesuffix(".mp4")}
    if isinstance(path := fields.get("path"), str):
        fields.setdefault("data_type", "image" if Path(path).suffix.lower() in IMAGE_SUFFIXES else "video")
    return fields


@contextmanager
def unchanged(folder: Path) -> Iterator[None]:
    """UserError if the names, sizes or times of the files in a folder change meanwhile.

    DVC records a source as it is when the stage ends: what came too late to be read would count as read.
    """
    before = _listing(folder)
    yield
    if _listing(folder) != before:
        raise UserError(f"{folder} changed while it was read; run again when all files are in place")


def _listing(folder: Path) -> str:
    """A hash of the names, sizes and times of all files in a folder."""
    digest = hashlib.sha256()
    for place, folders, files in os.walk(folder):
        folders.sort()
        for path in sorted(os.path.join(place, name) for name in files):
            with suppress(FileNotFoundError):  # gone since it was listed
                found = os.stat(path)
                digest.update(f"{path}\0{found.st_size}\0{found.st_mtime_ns}\n".encode())
    return digest.hexdigest()

"""The sources of samples: the entries of `ingest.sources` and their rows."""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self, TypedDict, TypeGuard

from pydantic import Field, model_validator

from stages.data.hub import read_hub
from stages.data.record_files import read_records
from stages.data.records import read_sample, rejected
from stages.data.rows import RecordField, record_fields, with_data_type
from stages.data.sample import Reject, Sample, Split, Unusable
from stages.run.addresses import MARK, Address, Place, place_of
from stages.run.files import write_atomic
from stages.run.object_cache import local_file
from stages.run.object_tree import refusal
from stages.run.objects import ObjectError
from stages.run.params import Params


# An undecoded media cell of `datasets`: a file's path, its bytes, or both.
class MediaCell(TypedDict, total=False):
    path: str | None
    bytes: bytes | None


class Source(Params):
    """One entry of `ingest.sources`.

    It names one of `records`, `hub` and `folder`. All paths are relative to `ingest.root`; `records`, `media` and
    `folder` may also be addresses of objects (s3://, gs://, hf://).
    """

    name: str = Field(pattern=r"^[\w.-]+$", description="its name, with which its sample ids begin")
    records: str | None = Field(
        default=None, description="path or address of a file of Video-R1 records: a JSON array, JSON Lines or CSV"
    )
    media: str = Field(
        default=".", description="with records or hub: the folder or address from which their media paths start"
    )
    hub: str | None = Field(
        default=None,
        description="path of a folder (Parquet, Arrow, imagefolder, videofolder) or the name of a hub dataset",
    )
    config: str | None = Field(default=None, description="with hub: name of the configuration")
    hub_split: str = Field(default="train", description="with hub: name of the split")
    revision: str | None = Field(default=None, description="with hub: commit or tag, which makes a run repeatable")
    folder: str | None = Field(default=None, description="path or address of a folder of media")
    questions: str = Field(
        default="questions.csv", description="with folder: name of the CSV, JSON Lines or JSON file of questions in it"
    )
    columns: dict[RecordField, str] = Field(
        default={}, description="by record field: the source's column, where the two have different names"
    )
    defaults: dict[RecordField, str] = Field(default={}, description="by record field: its value where a row has none")
    split: Split = Field(default="train", description="the training sets that may use it: sft, rl, or both (train)")
    weight: float = Field(
        default=1.0, gt=0, le=1, description="share of its records to take (0 to 1), chosen by a hash of their ids"
    )
    limit: int | None = Field(
        default=None, ge=1, description="how many records of that share to take, the first ones; null takes all"
    )
    licence: str = Field(
        default="", max_length=200, description="licence of its media and questions, kept with every sample"
    )
    enabled: bool = Field(default=True, description="whether the source is read")

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
            raise ValueError(f"a source with {kinds[0]} takes no {' and no '.join(stray)}; remove it")
        if self.hub and MARK in self.hub:
            raise ValueError("hub is a folder or the name of a dataset; an address goes to records, media or folder")
        for text in (self.records, self.media, self.folder):
            place_of(text or "")
        return self

    def takes(self, sample_id: str) -> bool:
        """Whether `weight` keeps the record.

        A larger weight keeps the same records and more.
        """
        number = int.from_bytes(hashlib.sha256(sample_id.encode()).digest()[:8], "big")
        return number < self.weight * 2**64


def read_source(
    source: Source, root: Path, embedded: Path | None = None, seen: set[str] | None = None
) -> Iterator[Sample | Reject]:
    """The source's records as samples or rejects, in order.

    The media hash of the samples is still empty. Media that a dataset holds as bytes is written to the folder
    `embedded`. `seen` holds the ids of earlier sources; an id that comes again is a reject.
    """
    seen = set() if seen is None else seen
    taken = 0
    for place, row in _rows(source, root):
        draft = _draft(row, place, source, root, embedded)
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


def _rows(source: Source, root: Path) -> Iterator[tuple[str, object]]:
    if source.hub is not None:
        rows = read_hub(source.hub, root / source.hub, source.config, source.hub_split, source.revision)
        return ((f"row {number}", row) for number, row in enumerate(rows, 1))
    place = place_of(source.records or f"{source.folder}/{source.questions}", root)
    return _object_records(place) if isinstance(place, Address) else read_records(place)


def _object_records(address: Address) -> Iterator[tuple[str, object]]:
    """The records of an object; UserError where it cannot be fetched."""
    try:
        with local_file(address) as local:
            yield from read_records(local.path, str(address))
    except ObjectError as error:
        raise refusal(address, error) from None


def _draft(row: object, place: str, source: Source, root: Path, embedded: Path | None) -> Sample | Reject:
    media = place_of(source.folder or source.media, root)
    if not isinstance(row, dict):
        return read_sample(row, source.name, media, source.split, place)
    try:
        fields = record_fields(row, source.columns, source.defaults)
    except Unusable as error:
        return rejected(row, source.name, place, error)
    fields.setdefault("problem_id", place.split()[-1])
    if _is_media(path := fields.get("path")):
        media, fields["path"] = _undecoded(path, root / source.hub if source.hub else media, embedded)
    record = with_data_type(fields)
    return read_sample(record, source.name, media, source.split, place, source.licence, columns=list(row))


def _is_media(cell: object) -> TypeGuard[MediaCell]:
    return (
        isinstance(cell, Mapping)
        and isinstance(cell.get("path"), str | None)
        and isinstance(cell.get("bytes"), bytes | None)
    )


def _undecoded(cell: MediaCell, folder: Place, embedded: Path | None) -> tuple[Place, str | None]:
    """Folder and path of an undecoded media cell.

    They are those of the file that the cell names. Bytes are written to a file of `embedded`, named by their hash.
    """
    path, data = cell.get("path"), cell.get("bytes")
    if data and embedded is not None:
        suffix = Path(path or "").suffix.lower()
        has_plain_suffix = suffix[1:].isalnum() and len(suffix) < 10
        name = hashlib.sha256(data).hexdigest() + (suffix if has_plain_suffix else "")
        if not (embedded / name).exists():
            write_atomic(embedded / name, data)
        return embedded, name
    if isinstance(folder, Address):
        return folder, path
    real = folder.resolve()
    return folder, str(Path(path).relative_to(real)) if path and Path(path).is_relative_to(real) else path

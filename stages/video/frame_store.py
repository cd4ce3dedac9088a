"""Reads the frame store: sampled, resized frames as encoded pictures."""

import io
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypedDict, cast

import numpy as np
import pyarrow.parquet as pq
import simplejpeg
from PIL import Image

from stages.data.sample import Sample
from stages.data.shards import ShardStore
from stages.run.errors import UserError
from stages.run.schemas import Int32, UInt64, schema_of

log = logging.getLogger(__name__)


class FrameRow(TypedDict):
    """A row whose clip has frames.

    key: hash of the media, the clip's bounds and the frame spec. pictures: encoded files, JPEG or lossless WebP.
    phash, brightness and motion: see `phash` and Quality. The others are those of Frames.
    """

    key: str
    pictures: list[bytes]
    indices: list[Int32]
    pts: list[float]
    source_fps: float
    keyframes: Int32 | None
    phash: list[UInt64]
    brightness: float
    motion: float | None


class RefusedRow(TypedDict):
    """A row of a refused clip, which no run decodes again.

    refused: a Reason. detail: more about the reason.
    """

    key: str
    refused: str
    detail: str


class FrameKeyRow(TypedDict):
    """Which row of the store holds the frames of a sample."""

    sample_id: str
    frame_key: str


SCHEMA = schema_of(FrameRow, RefusedRow)
FRAME_KEYS_SCHEMA = schema_of(FrameKeyRow)


@dataclass(frozen=True)
class Frames:
    """Frames of one clip in presentation order.

    frames_THWC: uint8 RGB. indices_T: positions in the source video, counted from its first shown frame. pts_T:
    seconds from that frame. source_fps: mean frame rate of the source. keyframes: how many keyframes the source has
    from the first to the last of these frames, None where nobody counted. An image has T = 1, index 0, pts 0.0 and
    source_fps 0.0.
    """

    frames_THWC: np.ndarray
    indices_T: np.ndarray
    pts_T: np.ndarray
    source_fps: float
    keyframes: int | None = None


@dataclass(frozen=True)
class FrameShape:
    """Number, size in pixels and times pts_T in seconds of frames."""

    count: int
    height: int
    width: int
    pts_T: np.ndarray


class FrameReader:
    """Reads the frames of samples.

    Workers of a data loader can have copies of it.
    """

    def __init__(self, store: Path, table: Path) -> None:
        """`table` is any Parquet file with the columns `sample_id` and `frame_key`.

        Raises UserError when the table lacks those columns, or when the store is not there.
        """
        self._directory = store
        if missing := set(FRAME_KEYS_SCHEMA.names) - set(pq.read_schema(table).names):
            raise UserError(f"{table} has no column {', '.join(sorted(missing))}; run the stage that writes it again")
        columns = pq.read_table(table, columns=FRAME_KEYS_SCHEMA.names).to_pydict()
        self._keys: dict[str, str] = {name: key for name, key in zip(*columns.values(), strict=True) if key}
        if self._keys and not store.is_dir():
            raise UserError(
                f"{store}: the frames are not there; `dvc pull {store}` fetches them, `dvc repro frames` makes them"
            )

    @property
    def sample_ids(self) -> list[str]:
        """The samples that have frames."""
        return list(self._keys)

    def load(self, sample_id: str) -> Frames:
        """The frames of a sample. Raises KeyError when the table lacks it."""
        return frames_from_row(self._row(sample_id))

    def pictures(self, sample_id: str) -> list[bytes]:
        """The stored files of a sample's frames: JPEG, or lossless WebP."""
        return self._row(sample_id, ["pictures"])["pictures"]

    def times(self, sample_id: str) -> list[float]:
        """The seconds of the frames, from the first frame of the media."""
        return self._row(sample_id, ["pts"])["pts"]

    def shape(self, sample_id: str) -> FrameShape:
        """The shape of a sample's frames, from the first picture's header."""
        row = self._row(sample_id, ["pictures", "pts"])
        with Image.open(io.BytesIO(row["pictures"][0])) as picture:
            return FrameShape(len(row["pictures"]), picture.height, picture.width, np.array(row["pts"]))

    def check(self, sample_ids: Iterable[str]) -> None:
        """Raises UserError when the store lacks frames of one of these samples."""
        missing = [name for name in sample_ids if self._keys[name] not in self._store]
        if missing:
            raise UserError(
                f"{self._directory} lacks the frames of {len(missing)} samples, for example {missing[0]}; "
                f"`dvc pull {self._directory}` fetches them, `dvc repro frames` makes them"
            )

    def _row(self, sample_id: str, columns: Sequence[str] | None = None) -> FrameRow:
        return cast(FrameRow, self._store.read(self._keys[sample_id], columns))

    @cached_property
    def _store(self) -> ShardStore:
        return ShardStore(self._directory, SCHEMA)

    def __getstate__(self) -> dict[str, object]:
        return {"_directory": self._directory, "_keys": self._keys}


def with_frames(samples: Sequence[Sample], reader: FrameReader) -> list[Sample]:
    """The samples that have frames. Raises UserError when there is none."""
    if not samples:
        raise UserError(
            "no samples are left to train on: metrics/filter.json says how many each rule dropped, "
            "data/rejects.parquet says why"
        )
    known = set(reader.sample_ids)
    chosen = [sample for sample in samples if sample.sample_id in known]
    if not chosen:
        raise UserError(f"none of the {len(samples)} samples has frames: run the frames stage for the same samples")
    if len(chosen) < len(samples):
        log.warning("%d of %d samples have no frames and are left out", len(samples) - len(chosen), len(samples))
    reader.check(sample.sample_id for sample in chosen)
    return chosen


def frames_from_row(row: FrameRow) -> Frames:
    """The decoded frames of one row."""
    return Frames(
        frames_THWC=np.stack([_decode(picture) for picture in row["pictures"]]),
        indices_T=np.array(row["indices"], dtype=np.int64),
        pts_T=np.array(row["pts"], dtype=np.float64),
        source_fps=row["source_fps"],
        keyframes=row["keyframes"],
    )


def _decode(picture: bytes) -> np.ndarray:
    if simplejpeg.is_jpeg(picture):
        return simplejpeg.decode_jpeg(picture)
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"))

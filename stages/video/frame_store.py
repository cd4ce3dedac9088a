"""The frame store: sampled, resized frames as encoded pictures in append-only Parquet shards. No video decoder is needed to read it."""

import errno
import io
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import simplejpeg
from PIL import Image

from stages.data.errors import UserError
from stages.data.sample import Sample
from stages.data.shards import ShardStore
from stages.video.hashes import phash
from stages.video.quality import brightness, motion

log = logging.getLogger(__name__)

SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("pictures", pa.list_(pa.binary())),
        ("indices", pa.list_(pa.int32())),
        ("pts", pa.list_(pa.float64())),
        ("source_fps", pa.float64()),
        ("keyframes", pa.int32()),
        ("phash", pa.list_(pa.uint64())),
        ("brightness", pa.float64()),
        ("motion", pa.float64()),
        ("refused", pa.string()),  # why the clip has no frames and never will; null where it has them
        ("detail", pa.string()),
    ]
)
TABLE_SCHEMA = pa.schema([("sample_id", pa.string()), ("key", pa.string())])


@dataclass(frozen=True)
class Frames:
    """Frames of one clip in presentation order.

    frames_THWC: uint8 RGB. indices_T: positions in the source video, counted from its first shown frame. pts_T: seconds from that
    frame. source_fps: mean frame rate of the source. keyframes: how many the source has from the first to the last of these frames,
    None where nobody counted. An image has T = 1, index 0, pts 0.0 and source_fps 0.0.
    """

    frames_THWC: np.ndarray
    indices_T: np.ndarray
    pts_T: np.ndarray
    source_fps: float
    keyframes: int | None = None


class FrameReader:
    """Reads the frames of the samples of one table; cheap to make, safe to send to data loader workers."""

    def __init__(self, store: Path, table: Path) -> None:
        self._directory = store
        self._keys: dict[str, str] = dict(zip(*pq.read_table(table).to_pydict().values(), strict=True))
        if self._keys and not store.is_dir():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(store))

    @property
    def sample_ids(self) -> list[str]:
        return list(self._keys)

    def load(self, sample_id: str) -> Frames:
        """The frames of a sample. KeyError if the table does not have it, which means it was refused or never extracted."""
        return frames_from_row(self._store.read(self._keys[sample_id]))

    def pictures(self, sample_id: str) -> list[bytes]:
        """The frames of a sample as they are stored: one encoded picture (JPEG, or WebP where the store is lossless) each."""
        return self._store.read(self._keys[sample_id], ["pictures"])["pictures"]

    @cached_property
    def _store(self) -> ShardStore:
        return ShardStore(self._directory, SCHEMA)

    def __getstate__(self) -> dict[str, Any]:
        return {"_directory": self._directory, "_keys": self._keys}


def with_frames(samples: Sequence[Sample], reader: FrameReader) -> list[Sample]:
    """The samples to train on: those that have frames. UserError when there is none."""
    if not samples:
        raise UserError("no samples are left to train on: metrics/filter.json says which rule dropped how many, data/rejects.parquet why")
    known = set(reader.sample_ids)
    chosen = [sample for sample in samples if sample.sample_id in known]
    if not chosen:
        raise UserError(f"none of the {len(samples)} samples has frames: run the frames stage for the same samples")
    if len(chosen) < len(samples):
        log.warning("%d of %d samples have no frames and are left out", len(samples) - len(chosen), len(samples))
    return chosen


def row_from_frames(key: str, frames: Frames, jpeg_quality: int | None) -> dict[str, Any]:
    """One row of the store; `jpeg_quality` None means lossless WebP."""
    luma_THW = np.stack([np.asarray(Image.fromarray(frame_HWC).convert("L")) for frame_HWC in frames.frames_THWC])
    return {
        "key": key,
        "pictures": [_encode(frame_HWC, jpeg_quality) for frame_HWC in np.ascontiguousarray(frames.frames_THWC)],
        "indices": frames.indices_T.tolist(),
        "pts": frames.pts_T.tolist(),
        "source_fps": frames.source_fps,
        "keyframes": frames.keyframes,
        "phash": phash(luma_THW).tolist(),
        "brightness": brightness(luma_THW),
        "motion": motion(luma_THW.astype(np.int16)),
    }


def frames_from_row(row: Mapping[str, Any]) -> Frames:
    return Frames(
        frames_THWC=np.stack([_decode(picture) for picture in row["pictures"]]),
        indices_T=np.array(row["indices"], dtype=np.int64),
        pts_T=np.array(row["pts"], dtype=np.float64),
        source_fps=row["source_fps"],
        keyframes=row["keyframes"],
    )


def _encode(frame_HWC: np.ndarray, jpeg_quality: int | None) -> bytes:
    if jpeg_quality is not None:
        return simplejpeg.encode_jpeg(frame_HWC, quality=jpeg_quality, colorsubsampling="444")
    buffer = io.BytesIO()
    Image.fromarray(frame_HWC).save(buffer, "WEBP", lossless=True)
    return buffer.getvalue()


def _decode(picture: bytes) -> np.ndarray:
    if simplejpeg.is_jpeg(picture):
        return simplejpeg.decode_jpeg(picture)
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"))

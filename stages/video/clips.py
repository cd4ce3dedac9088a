"""The table of clips: which look alike, and which have poor pictures."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, TypedDict

import numpy as np
import pyarrow.parquet as pq

from stages.data.sample import Flag, Sample
from stages.data.shards import ShardStore
from stages.run.files import table_writer
from stages.run.schemas import Int32, schema_of
from stages.video.frame_store import SCHEMA
from stages.video.hashes import near_groups
from stages.video.quality import BLACK_BELOW, Quality, flags


class ClipRow(TypedDict):
    """One sample that has frames.

    same_media: id of the first sample with the same file, byte for byte. near_clip: id of the first sample whose clip
    (with its bounds) looks nearly the same; the sample's own id where there is none, or where the clip is black.
    flags: what is wrong with the clip. The others are those of Quality.
    """

    sample_id: str
    same_media: str
    near_clip: str
    flags: list[Flag]
    brightness: float
    motion: float | None
    seconds: float
    keyframes: Int32 | None


class ClipCounts(TypedDict):
    """For metrics.

    copies: files that are copies of another one. near_duplicates: samples whose clip looks nearly like one of an
    earlier file. flags: how many clips have each flag.
    """

    copies: int
    near_duplicates: int
    flags: dict[str, int]


CLIPS_SCHEMA = schema_of(ClipRow)


class _Seen(NamedTuple):
    """What the frame store knows of a clip."""

    hash_T: np.ndarray
    quality: Quality


def write_clips(samples: Iterable[Sample], store: Path, frame_keys: Path, table: Path) -> ClipCounts:
    """Write one row per sample that has frames, in their order."""
    columns = pq.read_table(frame_keys, columns=["sample_id", "frame_key"]).to_pydict()
    keys: dict[str, str] = dict(zip(columns["sample_id"], columns["frame_key"], strict=True))
    seen = _seen(store, dict.fromkeys(keys.values()))
    near = near_groups({key: clip.hash_T for key, clip in seen.items() if clip.quality.brightness >= BLACK_BELOW})
    first_of_key: dict[str, tuple[str, str]] = {}  # a sample's id and the hash of its media
    first_of_media: dict[str, str] = {}
    counts, paths = Counter[Flag](), set[str]()
    near_duplicates = 0
    with table_writer(table, CLIPS_SCHEMA) as write:
        for sample in samples:
            if (key := keys.get(sample.sample_id)) is None:
                continue
            own, quality = (sample.sample_id, sample.media_sha256), seen[key].quality
            near_clip, near_media = first_of_key.setdefault(near.get(key, key), own)
            row: ClipRow = {
                "sample_id": sample.sample_id,
                "same_media": first_of_media.setdefault(sample.media_sha256, sample.sample_id),
                "near_clip": near_clip,
                "flags": flags(quality, sample.data_type),
                "brightness": quality.brightness,
                "motion": quality.motion,
                "seconds": quality.seconds,
                "keyframes": quality.keyframes,
            }
            write(row)
            paths.add(sample.media_path)
            counts.update(row["flags"])
            near_duplicates += near_media != sample.media_sha256
    return {
        "copies": len(paths) - len(first_of_media),
        "near_duplicates": near_duplicates,
        "flags": dict(sorted(counts.items())),
    }


def _seen(store: Path, keys: Mapping[str, None]) -> dict[str, _Seen]:
    """The clips of these keys, in the order of the keys."""
    clips: dict[str, _Seen] = {}
    columns = ["phash", "pts", "brightness", "motion", "keyframes"]
    for key, row in ShardStore(store, SCHEMA).columns(keys, columns):
        quality = Quality(row["brightness"], row["motion"], row["pts"][-1] - row["pts"][0], row["keyframes"])
        clips[key] = _Seen(np.array(row["phash"], dtype=np.uint64), quality)
    return {key: clips[key] for key in keys}

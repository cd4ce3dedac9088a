"""The table of clips: which look alike, and which have poor pictures."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stages.data.sample import Flag, Sample
from stages.data.shards import ShardStore
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
    keyframes: int | None


class ClipCounts(TypedDict):
    """For metrics.

    copies: files that are copies of another one. near_duplicates: samples whose clip looks nearly like one of an
    earlier file. flags: how many clips have each flag.
    """

    copies: int
    near_duplicates: int
    flags: dict[str, int]


CLIPS_SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("same_media", pa.string()),
        ("near_clip", pa.string()),
        ("flags", pa.list_(pa.string())),
        ("brightness", pa.float64()),
        ("motion", pa.float64()),
        ("seconds", pa.float64()),
        ("keyframes", pa.int32()),
    ]
)


def clip_rows(samples: Sequence[Sample], store: Path, frame_keys: Path) -> list[ClipRow]:
    """One row per sample that has frames, in their order."""
    table = pq.read_table(frame_keys, columns=["sample_id", "frame_key"])
    keys: dict[str, str] = dict(zip(table["sample_id"].to_pylist(), table["frame_key"].to_pylist(), strict=True))
    columns = ["phash", "pts", "brightness", "motion", "keyframes"]
    described = ShardStore(store, SCHEMA).columns(set(keys.values()), columns)
    visible = [key for key in dict.fromkeys(keys.values()) if described[key]["brightness"] >= BLACK_BELOW]
    near = near_groups({key: np.array(described[key]["phash"], dtype=np.uint64) for key in visible})
    first_of_key: dict[str, str] = {}
    first_of_media: dict[str, str] = {}
    rows: list[ClipRow] = []
    for sample in samples:
        if (key := keys.get(sample.sample_id)) is None:
            continue
        clip = described[key]
        quality = Quality(clip["brightness"], clip["motion"], clip["pts"][-1] - clip["pts"][0], clip["keyframes"])
        rows.append(
            {
                "sample_id": sample.sample_id,
                "same_media": first_of_media.setdefault(sample.media_sha256, sample.sample_id),
                "near_clip": first_of_key.setdefault(near.get(key, key), sample.sample_id),
                "flags": flags(quality, sample.data_type),
                "brightness": quality.brightness,
                "motion": quality.motion,
                "seconds": quality.seconds,
                "keyframes": quality.keyframes,
            }
        )
    return rows


def clip_counts(samples: Sequence[Sample], rows: Sequence[ClipRow]) -> ClipCounts:
    """What the table of clips says, in numbers."""
    by_id = {sample.sample_id: sample for sample in samples}
    paths = {by_id[row["sample_id"]].media_path for row in rows}
    near = sum(by_id[row["near_clip"]].media_sha256 != by_id[row["sample_id"]].media_sha256 for row in rows)
    counts = Counter(flag for row in rows for flag in row["flags"])
    return {
        "copies": len(paths) - len({row["same_media"] for row in rows}),
        "near_duplicates": near,
        "flags": dict(sorted(counts.items())),
    }

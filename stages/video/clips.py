"""The table of clips: for each sample which others show the same or nearly the same, and what is wrong with its pixels."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stages.data.sample import Flag, Sample
from stages.data.shards import ShardStore
from stages.video.frame_store import SCHEMA
from stages.video.hashes import near_groups
from stages.video.quality import BLACK_BELOW, Quality, flags


class ClipRow(TypedDict):
    """What is known of one sample's clip. `flags` and the numbers after it are those of `Quality`."""

    sample_id: str
    same_media: str
    near_clip: str
    flags: list[Flag]
    brightness: float
    motion: float | None
    seconds: float
    keyframes: int | None


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


def clip_rows(samples: Sequence[Sample], store: Path, frame_keys: Path) -> list[dict[str, Any]]:
    """One row per sample that has frames.

    `same_media` is the id of the first sample with the same file, byte for byte; `near_clip` that of the first one whose clip
    (with its bounds) looks the same, and its own where none does or where it is black.
    """
    keys: dict[str, str] = dict(
        zip(*pq.read_table(frame_keys, columns=["sample_id", "frame_key"]).to_pydict().values(), strict=True)
    )
    described = ShardStore(store, SCHEMA).columns(
        set(keys.values()), ["phash", "pts", "brightness", "motion", "keyframes"]
    )
    visible = [key for key in dict.fromkeys(keys.values()) if described[key]["brightness"] >= BLACK_BELOW]
    near = near_groups({key: np.array(described[key]["phash"], dtype=np.uint64) for key in visible})
    first_of_key: dict[str, str] = {}
    first_of_media: dict[str, str] = {}
    rows = []
    for sample in samples:
        if (key := keys.get(sample.sample_id)) is None:
            continue
        facts = described[key]
        quality = Quality(facts["brightness"], facts["motion"], facts["pts"][-1] - facts["pts"][0], facts["keyframes"])
        rows.append(
            {
                "sample_id": sample.sample_id,
                "same_media": first_of_media.setdefault(sample.media_sha256, sample.sample_id),
                "near_clip": first_of_key.setdefault(near.get(key, key), sample.sample_id),
                "flags": flags(quality, sample.data_type),
                **quality._asdict(),
            }
        )
    return rows


def summary(samples: Sequence[Sample], rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """For metrics: files that are copies of another one, samples whose clip nearly is an earlier file's, and flags."""
    by_id = {sample.sample_id: sample for sample in samples}
    copies = len({by_id[row["sample_id"]].media_path for row in rows}) - len({row["same_media"] for row in rows})
    near = sum(by_id[row["near_clip"]].media_sha256 != by_id[row["sample_id"]].media_sha256 for row in rows)
    counts = Counter(flag for row in rows for flag in row["flags"])
    return {"copies": copies, "near_duplicates": near, "flags": dict(sorted(counts.items()))}

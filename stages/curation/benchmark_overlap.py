"""Clips that a benchmark shows too, also re-encoded or cut."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from stages.data.shards import ShardStore
from stages.run.errors import UserError
from stages.video.frame_store import SCHEMA
from stages.video.hashes import NEAR
from stages.video.quality import BLACK_BELOW

SAME_FRAME = 2 * NEAR  # bits of 64; one frame may differ more than the mean over a clip


class ClipIndex:
    """An index of clips by the hashes of their frames."""

    def __init__(self, clips: Iterable[tuple[str, np.ndarray]]) -> None:
        """`clips`: each clip's name and the hashes [T] uint64 of its frames.

        Several clips may have one name.
        """
        listed = list(clips)
        self._names = [name for name, _ in listed]
        self._hashes_N = np.concatenate([hash_T for _, hash_T in listed]) if listed else np.zeros(0, np.uint64)
        self._clip_N = np.repeat(np.arange(len(listed)), [len(hash_T) for _, hash_T in listed])

    def name_of_overlap(self, hash_T: np.ndarray) -> str | None:
        """The indexed clip that shares most frames with this one.

        None where those are fewer than half of this clip's frames.
        """
        if not self._names:
            return None
        shared_C = np.zeros(len(self._names), dtype=np.int64)
        for one in hash_T:
            same_N = np.bitwise_count(self._hashes_N ^ one) <= SAME_FRAME
            shared_C[np.unique(self._clip_N[same_N])] += 1
        best = int(shared_C.argmax())
        return self._names[best] if 2 * shared_C[best] >= len(hash_T) else None


class BenchmarkOverlap:
    """Which benchmark shows a clip of our frame store.

    Black clips look alike, so they overlap with nothing.
    """

    def __init__(self, store: Path, benchmarks: Iterable[Path]) -> None:
        """`benchmarks`: folders as the benchmark stage writes them, with `frames` and `frames.parquet`."""
        self._store = ShardStore(store, SCHEMA)
        self._benchmark_clips = ClipIndex(clip for folder in benchmarks for clip in _clips(folder))

    def __call__(self, frame_key: str) -> str | None:
        """The benchmark that shows the clip under `frame_key`, or None."""
        row = self._store.read(frame_key, ["phash", "brightness"])
        if row["brightness"] < BLACK_BELOW:
            return None
        return self._benchmark_clips.name_of_overlap(np.array(row["phash"], dtype=np.uint64))


def _clips(folder: Path) -> list[tuple[str, np.ndarray]]:
    """The benchmark's name and the frame hashes of each visible clip."""
    table = folder / "frames.parquet"
    if not table.is_file():
        raise UserError(f"{folder} holds no frames to compare with; run the benchmark stage for it")
    keys = set(pq.read_table(table, columns=["frame_key"])["frame_key"].to_pylist())
    rows = dict(ShardStore(folder / "frames", SCHEMA).columns(keys, ["phash", "brightness"]))
    visible = sorted(key for key, row in rows.items() if row["brightness"] >= BLACK_BELOW)
    return [(folder.name, np.array(rows[key]["phash"], dtype=np.uint64)) for key in visible]

"""Clips found again in a benchmark: literal hashes and real encodings."""

from pathlib import Path

import numpy as np
import pytest

from stages.curation.benchmark_overlap import BenchmarkOverlap, ClipIndex
from stages.data.shards import ShardStore
from stages.run.errors import UserError
from stages.run.files import write_table
from stages.video.frame_rows import row_from_frames
from stages.video.frame_store import FRAME_KEYS_SCHEMA, SCHEMA, Frames


def hashes(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.uint64)


def test_a_clip_is_found_when_half_of_its_frames_are_within_eight_bits_of_one_indexed_clip() -> None:
    index = ClipIndex([("one", hashes(0, 2**64 - 1)), ("two", hashes(0xFFFF0000FFFF0000, 0x0F0F0F0F0F0F0F0F))])
    assert (
        index.name_of_overlap(hashes(0xFF, 0x0F0F0F0FF0F0F0F0)) == "one"
    )  # the first frame differs by 8 bits, the second by 32
    assert index.name_of_overlap(hashes(0x1FF, 0x0F0F0F0FF0F0F0F0)) is None  # 9 bits
    assert (
        index.name_of_overlap(hashes(0xFFFF0000FFFF0000, 0x0F0F0F0F0F0F0F0F, 0)) == "two"
    )  # two frames of it, one of the other
    assert index.name_of_overlap(hashes(0, 0x0F0F0F0FF0F0F0F0, 0x0F0F0F0FF0F0F0F0)) is None  # one frame of three
    assert ClipIndex([]).name_of_overlap(hashes(0)) is None


def clip(seed: int, frames: int = 4, light: float = 1.0) -> Frames:
    """Smooth random frames, another picture in each."""
    coarse_THWC = np.random.default_rng(seed).integers(0, 256, (frames, 6, 8, 3))
    pixels_THWC = (coarse_THWC.repeat(8, axis=1).repeat(8, axis=2) * light).astype(np.uint8)
    return Frames(pixels_THWC, np.arange(frames), np.arange(frames, dtype=float), 1.0)


def store(folder: Path, quality: int, **clips: Frames) -> Path:
    ShardStore(folder / "frames", SCHEMA).append(row_from_frames(key, frames, quality) for key, frames in clips.items())
    write_table(folder / "frames.parquet", [{"sample_id": key, "frame_key": key} for key in clips], FRAME_KEYS_SCHEMA)
    return folder


def test_a_benchmarks_clip_is_found_when_it_was_encoded_again_and_cut_and_black_ones_match_nothing(
    tmp_path: Path,
) -> None:
    shown, black = clip(1), clip(3, light=0.0)
    cut = Frames(shown.frames_THWC[:2], shown.indices_T[:2], shown.pts_T[:2], 1.0)
    benchmark = store(tmp_path / "bench", 95, shown=shown, black=black)
    ours = store(tmp_path / "ours", 40, cut=cut, other=clip(2), black=black)
    overlap = BenchmarkOverlap(ours / "frames", [benchmark])
    assert [overlap(key) for key in ("cut", "other", "black")] == ["bench", None, None]
    with pytest.raises(UserError, match="holds no frames to compare with"):
        BenchmarkOverlap(ours / "frames", [tmp_path / "elsewhere"])

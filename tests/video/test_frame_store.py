import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from torch.utils.data import DataLoader, Dataset

from stages.data.shards import ShardStore
from stages.run.errors import UserError
from stages.run.files import write_table
from stages.video.frame_rows import row_from_frames
from stages.video.frame_store import FRAME_KEYS_SCHEMA, SCHEMA, FrameReader, Frames


def gradient(frames: int, height: int = 48, width: int = 64) -> Frames:
    t, y, x = np.meshgrid(np.arange(frames), np.arange(height), np.arange(width), indexing="ij")
    return Frames(
        frames_THWC=np.stack([x * 4, y * 5, t * 16], axis=-1).astype(np.uint8),
        indices_T=np.arange(frames) * 10,
        pts_T=np.arange(frames) / 3,
        source_fps=30.0,
    )


@pytest.fixture
def store(tmp_path: Path) -> Path:
    rows = [row_from_frames("key-a", gradient(16), 95), row_from_frames("key-b", gradient(1), None)]
    ShardStore(tmp_path / "frames", SCHEMA).append(rows)
    table = [("clip", "key-a"), ("image", "key-b"), ("same clip", "key-a")]
    write_table(
        tmp_path / "frames.parquet",
        [dict(zip(FRAME_KEYS_SCHEMA.names, row, strict=True)) for row in table],
        FRAME_KEYS_SCHEMA,
    )
    return tmp_path


def test_what_was_stored_as_lossless_webp_comes_back_bit_for_bit(store: Path) -> None:
    frames = FrameReader(store / "frames", store / "frames.parquet").load("image")
    np.testing.assert_array_equal(frames.frames_THWC, gradient(1).frames_THWC)


def test_what_was_stored_as_jpeg_comes_back_within_a_few_levels_with_its_times(store: Path) -> None:
    frames = FrameReader(store / "frames", store / "frames.parquet").load("clip")
    error = np.abs(frames.frames_THWC.astype(int) - gradient(16).frames_THWC.astype(int))
    assert frames.frames_THWC.shape == (16, 48, 64, 3)
    assert error.mean() < 1.0
    assert error.max() <= 8
    assert frames.indices_T.tolist() == list(range(0, 160, 10))
    assert frames.pts_T.tolist() == [index / 3 for index in range(16)]
    assert frames.source_fps == 30.0


def test_samples_that_ask_about_the_same_clip_share_one_row(store: Path) -> None:
    reader = FrameReader(store / "frames", store / "frames.parquet")
    assert reader.sample_ids == ["clip", "image", "same clip"]
    np.testing.assert_array_equal(reader.load("clip").frames_THWC, reader.load("same clip").frames_THWC)
    assert len(ShardStore(store / "frames", SCHEMA)) == 2


def test_a_sample_without_frames_is_a_key_error(store: Path) -> None:
    with pytest.raises(KeyError, match="refused clip"):
        FrameReader(store / "frames", store / "frames.parquet").load("refused clip")


def test_a_store_that_is_not_there_is_said_before_a_frame_is_wanted(store: Path) -> None:
    with pytest.raises(UserError, match="elsewhere: the frames are not there; `dvc pull"):
        FrameReader(store / "elsewhere", store / "frames.parquet")


def test_a_reader_travels_to_loader_workers(store: Path) -> None:
    reader = FrameReader(store / "frames", store / "frames.parquet")
    reader.load("clip")
    copy = pickle.loads(pickle.dumps(reader))
    np.testing.assert_array_equal(copy.load("image").frames_THWC, reader.load("image").frames_THWC)


class Loaded(Dataset[np.ndarray]):
    def __init__(self, reader: FrameReader) -> None:
        self.reader = reader

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> np.ndarray:
        return self.reader.load("clip").frames_THWC


@pytest.mark.timeout(60)
def test_forked_loader_workers_read_what_their_parent_has_read_before(store: Path) -> None:
    reader = FrameReader(store / "frames", store / "frames.parquet")
    frames_THWC = reader.load("clip").frames_THWC
    batches = list(DataLoader(Loaded(reader), batch_size=10, num_workers=2, multiprocessing_context="fork"))
    assert len(batches) == 4
    np.testing.assert_array_equal(batches[3][9].numpy(), frames_THWC)


def test_one_sample_is_read_without_its_neighbours(store: Path) -> None:
    metadata = pq.ParquetFile(store / "frames" / "00000.parquet").metadata
    assert [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)] == [1, 1]


def test_reading_frames_imports_no_video_decoder_and_no_torch() -> None:
    check = "import sys, stages.video.frame_store; print([m for m in ('av', 'decord', 'torch') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

import shutil
from pathlib import Path
from typing import Any

import pytest

from stages.data.errors import UserError
from stages.data.files import read_json
from stages.data.sample import read_rejects, write_samples
from stages.frames import FramesParams, run
from stages.video.frame_store import FrameReader
from tests.video.clips import H264, damage, encode
from tests.video.samples import PARAMS, sample


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three samples: a clip, the same clip again, and a damaged one."""
    clip = encode(tmp_path / "clip.mp4", frames=30, **H264)
    (tmp_path / "damaged.mp4").write_bytes(damage(clip.read_bytes(), 30))
    media = [sample("clip", clip), sample("again", clip), sample("damaged", tmp_path / "damaged.mp4")]
    write_samples(tmp_path / "samples.parquet", media)
    return tmp_path


def run_in(folder: Path, **changes: Any) -> None:
    names = ("samples.parquet", "frames", "frames.parquet", "rejects.parquet", "metrics.json")
    run(FramesParams(**{**PARAMS, **changes}), *(folder / name for name in names))


def test_the_stage_keeps_what_it_can_read_and_counts_the_rest(folder: Path) -> None:
    run_in(folder)
    assert FrameReader(folder / "frames", folder / "frames.parquet").sample_ids == ["clip", "again"]
    (reject,) = read_rejects(folder / "rejects.parquet")
    assert (reject.sample_id, reject.stage, reject.reason) == ("damaged", "frames", "corrupt")
    assert read_json(folder / "metrics.json") == {"samples": 3, "kept": 2, "rejected": 1, "reasons": {"corrupt": 1}}


def test_too_many_rejects_stop_the_stage_and_name_their_table(folder: Path) -> None:
    with pytest.raises(UserError, match=r"1 of 3 samples .* frames.max_rejected = 0.1; the reasons are in .*rejects.parquet"):
        run_in(folder, max_rejected=0.1)
    assert len(read_rejects(folder / "rejects.parquet")) == 1


def test_two_runs_from_nothing_write_the_same_bytes(folder: Path) -> None:
    outputs = ("frames/00000.parquet", "frames.parquet", "rejects.parquet", "metrics.json")
    run_in(folder)
    first = [(folder / name).read_bytes() for name in outputs]
    shutil.rmtree(folder / "frames")
    run_in(folder)
    assert [(folder / name).read_bytes() for name in outputs] == first

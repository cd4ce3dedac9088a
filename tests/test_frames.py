import io
import os
import shutil
import signal
import subprocess
import sys
import time
import tracemalloc
from functools import partial
from pathlib import Path

import ffmpeg
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from stages.data.sample import read_rejects, write_samples
from stages.data.shards import ShardStore
from stages.frames import FramesParams, run
from stages.run.errors import UserError
from stages.run.files import read_json
from stages.video.frame_store import SCHEMA, FrameReader
from tests.conftest import ROOT
from tests.video.clips import H264, Option, damage, encode
from tests.video.clips import run as encode_with_ffmpeg
from tests.video.samples import PARAMS, params, sample


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three samples: a clip, the same clip again, and a damaged one."""
    clip = encode(tmp_path / "clip.mp4", frames=30, **H264)
    (tmp_path / "damaged.mp4").write_bytes(damage(clip.read_bytes(), 30))
    media = [sample("clip", clip), sample("again", clip), sample("damaged", tmp_path / "damaged.mp4")]
    write_samples(tmp_path / "samples.parquet", media)
    return tmp_path


def run_in(folder: Path, **changes: object) -> None:
    names = ("samples.parquet", "frames", "frames.parquet", "clips.parquet", "rejects.parquet", "metrics.json")
    run(FramesParams.model_validate({**PARAMS, **changes}), *(folder / name for name in names))


def test_the_stage_keeps_what_it_can_read_and_counts_the_rest(folder: Path) -> None:
    run_in(folder)
    assert FrameReader(folder / "frames", folder / "frames.parquet").sample_ids == ["clip", "again"]
    (reject,) = read_rejects(folder / "rejects.parquet")
    assert (reject.sample_id, reject.stage, reject.reason) == ("damaged", "frames", "corrupt")
    assert read_json(folder / "metrics.json") == {
        "samples": 3,
        "kept": 2,
        "rejected": 1,
        "reasons": {"corrupt": 1},
        "copies": 0,
        "near_duplicates": 0,
        "flags": {},
    }


def make(path: Path, picture: str = "testsrc2=s=160x96:r=25:d=2", **output: Option) -> None:
    """A clip of one of ffmpeg's own test pictures.

    Numbered frames show too little for a perceptual hash.
    """
    encode_with_ffmpeg(
        ffmpeg.input(picture, f="lavfi").output(str(path), **{**H264, "pix_fmt": "yuv420p", "threads": 1, **output})
    )


def test_copies_near_duplicates_and_poor_clips_are_marked_with_their_numbers(tmp_path: Path) -> None:
    make(tmp_path / "clip.mp4")
    shutil.copy(tmp_path / "clip.mp4", tmp_path / "copy.mp4")
    make(tmp_path / "again.mp4", vcodec="mpeg4", qscale=5)
    make(tmp_path / "mirrored.mp4", vf="hflip")
    make(tmp_path / "black.mp4", "color=black:s=160x96:r=25:d=2")
    make(tmp_path / "frozen.mp4", "color=gray:s=160x96:r=25:d=2")
    make(tmp_path / "short.mp4", "mandelbrot=s=160x96:r=25", t=0.8)
    make(tmp_path / "rare-keys.mp4", "testsrc=s=160x96:r=1", t=20, g=1000, sc_threshold=0)
    names = ["clip", "copy", "again", "mirrored", "black", "frozen", "short", "rare-keys"]
    write_samples(tmp_path / "samples.parquet", [sample(name, tmp_path / f"{name}.mp4") for name in names])
    run_in(tmp_path)

    rows = {row["sample_id"]: row for row in pq.read_table(tmp_path / "clips.parquet").to_pylist()}
    assert [rows[name]["same_media"] for name in names[:4]] == ["clip", "clip", "again", "mirrored"]
    assert [rows[name]["near_clip"] for name in names[:4]] == ["clip", "clip", "clip", "mirrored"]
    assert [rows[name]["flags"] for name in names] == [
        [],
        [],
        [],
        [],
        ["black", "frozen"],
        ["frozen"],
        ["short"],
        ["few keyframes"],
    ]
    assert (rows["clip"]["seconds"], rows["clip"]["keyframes"]) == (49 / 25, 5)  # every twelfth: 0, 12, 24, 36, 48
    assert (rows["rare-keys"]["seconds"], rows["rare-keys"]["keyframes"]) == (19.0, 1)
    assert rows["black"]["brightness"] < 1 < 60 < rows["clip"]["brightness"]
    assert rows["frozen"]["motion"] < 0.5 < 5 < rows["clip"]["motion"]
    metrics = read_json(tmp_path / "metrics.json")
    assert (metrics["copies"], metrics["near_duplicates"]) == (1, 1)
    assert metrics["flags"] == {"black": 1, "few keyframes": 1, "frozen": 2, "short": 1}


def test_too_many_rejects_stop_the_stage_and_name_their_table(folder: Path) -> None:
    with pytest.raises(
        UserError, match=r"1 of 3 samples .* frames.max_rejected = 0.1; the reasons are in .*rejects.parquet"
    ):
        run_in(folder, max_rejected=0.1)
    assert len(read_rejects(folder / "rejects.parquet")) == 1


@pytest.mark.slow
def test_two_runs_from_nothing_write_the_same_bytes(folder: Path) -> None:
    outputs = ("frames/00000.parquet", "frames.parquet", "rejects.parquet", "metrics.json")
    run_in(folder)
    first = [(folder / name).read_bytes() for name in outputs]
    shutil.rmtree(folder / "frames")
    run_in(folder)
    assert [(folder / name).read_bytes() for name in outputs] == first


@pytest.mark.slow
def test_a_killed_run_keeps_what_it_stored_and_its_successor_decodes_only_the_rest(tmp_path: Path) -> None:
    (tmp_path / "media").mkdir()
    media = []
    for number in range(1200):  # four shards and a part
        Image.new("RGB", (32, 32), (number % 256, number // 256, 0)).save(tmp_path / "media" / f"{number:04d}.png")
        media.append(sample(f"s{number:04d}", tmp_path / "media" / f"{number:04d}.png", "image"))
    write_samples(tmp_path / "samples.parquet", media)
    parameters = ", ".join(f"{name}: {value}" for name, value in PARAMS.items())
    (tmp_path / "params.yaml").write_text(f"frames: {{ {parameters} }}\n")
    outs = {name: tmp_path / f"{name}.parquet" for name in ("samples", "frame_keys", "clips", "rejects")} | {
        "frame_store": tmp_path / "frames",
        "metrics": tmp_path / "metrics.json",
    }
    flags = [text for name, path in outs.items() for text in (f"--{name.replace('_', '-')}", str(path))]
    command = [sys.executable, "-m", "stages.frames", *flags]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}

    first = tmp_path / "frames" / "00000.parquet"
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, start_new_session=True, stderr=subprocess.DEVNULL
    ) as process:
        while not first.exists():
            assert process.poll() is None
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
    stored = {shard.name: shard.read_bytes() for shard in (tmp_path / "frames").glob("[0-9]*.parquet")}
    store = ShardStore(tmp_path / "frames", SCHEMA)
    for each in media:
        if params().key(each.media_sha256, None, None) in store:
            Path(each.media_path).unlink()  # whoever opens it again is refused

    done = subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True)
    assert 256 <= len(store) < 1200
    assert f"{1200 - len(store)} of 1200 clips are new" in done.stderr
    assert read_rejects(outs["rejects"]) == []
    assert {name: (tmp_path / "frames" / name).read_bytes() for name in stored} == stored
    assert len(FrameReader(tmp_path / "frames", outs["frame_keys"]).sample_ids) == 1200
    shards = sorted((tmp_path / "frames").glob("*.parquet"))
    assert [pq.read_metadata(shard).num_rows for shard in shards] == [256, 256, 256, 256, 176]


@pytest.mark.slow
def test_memory_holds_a_few_clips_whatever_their_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise_HWC = np.random.default_rng(0).integers(256, size=(840, 840, 3), dtype=np.uint8)
    picture = io.BytesIO()
    Image.fromarray(noise_HWC).save(picture, "PNG", compress_level=0)
    media = []
    for number in range(32):
        path = tmp_path / f"{number}.png"
        path.write_bytes(picture.getvalue() + bytes([number]))
        media.append(sample(path.stem, path, "image"))
    write_samples(tmp_path / "samples.parquet", media)
    monkeypatch.setattr("stages.video.extract.ShardStore", partial(ShardStore, rows_per_shard=4))
    tracemalloc.start()
    run_in(tmp_path, max_pixels=840 * 840)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    stored = sum(path.stat().st_size for path in (tmp_path / "frames").iterdir())
    assert stored > 20 << 20
    assert peak < stored / 2

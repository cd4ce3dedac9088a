import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stages.data.sample import Reject, Sample
from stages.video.extract import extract
from stages.video.frame_store import FrameReader, Frames
from tests.video.clips import damage, numbered_frame, read_number
from tests.video.samples import params, sample


def take(folder: Path, samples: list[Sample], **changes: object) -> list[Reject]:
    return extract(samples, params(**changes), folder / "frames", folder / "frames.parquet", stage="frames")


def load(folder: Path, sample_id: str) -> Frames:
    return FrameReader(folder / "frames", folder / "frames.parquet").load(sample_id)


def numbers(frames: Frames) -> list[int]:
    return [read_number(frame) for frame in frames.frames_THWC]


def shards(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "frames").glob("*.parquet"))}


def test_the_frames_of_a_clip_are_stored_with_their_places_and_times(clips: Path, tmp_path: Path) -> None:
    assert take(tmp_path, [sample("clip", clips / "hevc.mp4")]) == []
    frames = load(tmp_path, "clip")
    assert numbers(frames) == frames.indices_T.tolist() == [0, 8, 17, 25, 34, 42, 51, 59]
    np.testing.assert_allclose(frames.pts_T, frames.indices_T / 25)
    assert frames.source_fps == pytest.approx(25)


def test_a_bounded_clip_takes_frames_from_between_its_bounds(clips: Path, tmp_path: Path) -> None:
    bounded = sample("bounded", clips / "h264-open-gop.mp4", start=1.0, end=1.4)
    outside = sample("outside", clips / "h264-open-gop.mp4", start=90.0, end=99.0)
    (reject,) = take(tmp_path, [bounded, outside])
    assert numbers(load(tmp_path, "bounded")) == [25, 26, 28, 29, 31, 32, 34, 35]
    assert (reject.sample_id, reject.reason) == ("outside", "empty clip")


def test_wide_pixels_are_widened_and_rotated_clips_turned(clips: Path, tmp_path: Path) -> None:
    media = [sample("wide", clips / "wide-pixels.mp4"), sample("tall", clips / "rotated-90.mp4")]
    assert take(tmp_path, media, max_pixels=10**6) == []
    assert load(tmp_path, "wide").frames_THWC.shape[1:3] == (96, 320)
    assert load(tmp_path, "tall").frames_THWC.shape[1:3] == (160, 96)


def test_images_and_frame_folders_are_taken_too(tmp_path: Path) -> None:
    Image.fromarray(numbered_frame(700)).save(tmp_path / "picture.png")
    (tmp_path / "folder").mkdir()
    for number in range(1, 21):
        Image.fromarray(numbered_frame(number)).save(tmp_path / "folder" / f"{number:05d}.jpg", quality=95)
    media = [
        sample("image", tmp_path / "picture.png", "image"),
        sample("folder", tmp_path / "folder", start=1.0, end=3.0),
    ]

    assert take(tmp_path, media) == []

    image, folder = load(tmp_path, "image"), load(tmp_path, "folder")
    assert (numbers(image), image.pts_T.tolist(), image.source_fps) == ([700], [0.0], 0.0)
    assert (numbers(folder), folder.source_fps) == ([4, 5, 6, 7, 8, 9, 10], 3.0)  # seconds 1 to 3 at three per second


@pytest.mark.parametrize("decoder", ["pyav", "decord"])
def test_the_frames_of_a_video_share_its_budget_of_pixels_and_an_image_has_none(
    clips: Path, tmp_path: Path, decoder: str
) -> None:
    Image.fromarray(numbered_frame(700)).save(tmp_path / "picture.png")
    (tmp_path / "folder").mkdir()
    for number in range(1, 6):
        Image.fromarray(numbered_frame(number)).save(tmp_path / "folder" / f"{number:05d}.jpg")
    media = [
        sample("video", clips / "h264.mp4"),
        sample("folder", tmp_path / "folder"),
        sample("image", tmp_path / "picture.png", "image"),
    ]
    assert take(tmp_path, media, total_pixels=4 * 80 * 48, decoder=decoder) == []
    assert load(tmp_path, "video").frames_THWC.shape[:3] == (8, 48, 80)  # four pairs
    assert load(tmp_path, "folder").frames_THWC.shape[:3] == (5, 54, 92)  # three pairs
    assert load(tmp_path, "image").frames_THWC.shape[1:3] == numbered_frame(0).shape[:2]


def test_a_second_run_decodes_nothing_and_a_new_sample_adds_a_shard(clips: Path, tmp_path: Path) -> None:
    first = [sample("one", clips / "h264.mp4"), sample("two", clips / "vp9.webm")]
    take(tmp_path, first)
    before = shards(tmp_path)
    take(tmp_path, first)
    assert shards(tmp_path) == before

    take(tmp_path, [*first, sample("same clip", clips / "h264.mp4"), sample("new", clips / "three-frames.mp4")])
    assert list(shards(tmp_path)) == ["00000.parquet", "00001.parquet"]
    assert shards(tmp_path)["00000.parquet"] == before["00000.parquet"]
    assert numbers(load(tmp_path, "same clip")) == numbers(load(tmp_path, "one"))


@pytest.mark.slow
def test_what_no_run_can_use_is_decoded_once_and_refused_each_time(clips: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(damage((clips / "h264.mp4").read_bytes(), 30))
    media = [sample("damaged", damaged), sample("late", damaged, start=90.0), sample("clip", clips / "h264.mp4")]
    first = take(tmp_path, media)
    assert [(reject.sample_id, reject.reason) for reject in first] == [("damaged", "corrupt"), ("late", "empty clip")]

    damaged.unlink()  # whoever opens it again finds it missing
    before = shards(tmp_path)
    assert take(tmp_path, media) == first
    assert shards(tmp_path) == before
    assert [reject.reason for reject in take(tmp_path, media, max_corrupt=100)] == [
        "missing",
        "missing",
    ]  # another spec asks again


@pytest.mark.slow
def test_media_that_is_back_is_taken(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    frame = tmp_path / "folder" / "00001.png"
    for path in (frame, tmp_path / "picture.png"):
        Image.fromarray(numbered_frame(7)).save(path)
    media = [sample("picture", tmp_path / "picture.png", "image"), sample("folder", frame.parent)]
    (tmp_path / "picture.png").rename(tmp_path / "elsewhere.png")
    frame.unlink()
    assert [reject.reason for reject in take(tmp_path, media)] == ["missing", "changed"]

    (tmp_path / "elsewhere.png").rename(tmp_path / "picture.png")
    Image.fromarray(numbered_frame(7)).save(frame)
    assert take(tmp_path, media) == []


@pytest.mark.slow
def test_another_spec_finds_no_old_frames(clips: Path, tmp_path: Path) -> None:
    take(tmp_path, [sample("clip", clips / "h264.mp4")])
    take(tmp_path, [sample("clip", clips / "h264.mp4")], max_frames=2)
    assert numbers(load(tmp_path, "clip")) == [0, 59]


@pytest.mark.slow
def test_any_number_of_workers_writes_the_same_bytes(clips: Path, tmp_path: Path) -> None:
    names = ["h264.mp4", "hevc.mp4", "vp9.webm", "animated.gif", "h264.ts", "theora.ogv"]
    media = [sample(name, clips / name) for name in names]
    (tmp_path / "few").mkdir()
    take(tmp_path / "few", media, workers=1)
    take(tmp_path / "many", media, workers=3)
    assert shards(tmp_path / "few") == shards(tmp_path / "many")
    assert (tmp_path / "few" / "frames.parquet").read_bytes() == (tmp_path / "many" / "frames.parquet").read_bytes()


def test_media_that_changed_or_vanished_since_ingest_is_refused_and_the_others_go_on(
    clips: Path, tmp_path: Path
) -> None:
    for name in ("changed.mp4", "gone.mp4", "kept.mp4"):
        shutil.copy(clips / "h264.mp4", tmp_path / name)
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes() + name.encode())
    media = [sample(path.stem, path) for path in sorted(tmp_path.glob("*.mp4"))]
    shutil.copy(clips / "hevc.mp4", tmp_path / "changed.mp4")
    (tmp_path / "gone.mp4").unlink()

    rejects = take(tmp_path, media)

    assert [(reject.sample_id, reject.reason) for reject in rejects] == [("changed", "changed"), ("gone", "missing")]
    assert FrameReader(tmp_path / "frames", tmp_path / "frames.parquet").sample_ids == ["kept"]

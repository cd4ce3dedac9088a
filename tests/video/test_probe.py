import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.TiffImagePlugin import AppendingTiffWriter

from stages.run.files import sha256_file
from stages.video.media import MediaError, MediaInfo
from stages.video.picture import SUBFILE_TYPE, read_image
from stages.video.probe import probe
from stages.video.video_file import read_video
from stages.video.workers import Limits, Sandbox
from tests.video.clips import Option, damage, encode, numbered_frame, remux


def reason(path: Path) -> str:
    with pytest.raises(MediaError) as caught:
        probe(path)
    return caught.value.reason


def test_facts_of_a_clip(clips: Path) -> None:
    path = clips / "h264.mp4"
    assert probe(path) == MediaInfo(sha256_file(path), "video", 2.4)


def test_the_size_is_the_one_shown(clips: Path) -> None:
    assert read_video(clips / "rotated-90.mp4").geometry.shown == (160, 96)


def test_a_clip_that_is_turned_by_no_quarter_is_refused(clips: Path, tmp_path: Path) -> None:
    remux(tmp_path / "tilted.mp4", clips / "h264.mp4", {"display_rotation": 45})
    with pytest.raises(MediaError, match=r"unreadable.*turned by -?45 degrees, not by 90, 180 or 270"):
        probe(tmp_path / "tilted.mp4")
    remux(tmp_path / "nearly.mp4", clips / "h264.mp4", {"display_rotation": 91})
    assert read_video(tmp_path / "nearly.mp4").geometry.shown == (160, 96)


def test_cover_art_is_not_the_video(clips: Path) -> None:
    video = read_video(clips / "cover-art.mp4")
    assert (len(video.table.pts_N), video.geometry.height) == (60, 96)


def test_what_is_no_video_says_why(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("not a video\n" * 100)
    whole = (clips / "index-first.mp4").read_bytes()
    (tmp_path / "truncated.mp4").write_bytes(whole[: len(whole) * 6 // 10])
    (tmp_path / "truncated-index.mp4").write_bytes((clips / "h264.mp4").read_bytes()[:-2000])

    assert reason(tmp_path / "absent.mp4") == "missing"
    assert reason(tmp_path / "empty.mp4") == "unreadable"
    assert reason(tmp_path / "text.mp4") == "unreadable"
    assert reason(tmp_path / "truncated.mp4") == "truncated"
    assert reason(tmp_path / "truncated-index.mp4") == "unreadable"
    assert reason(clips / "audio-only.mp4") == "no video stream"


def test_a_picture_in_a_videos_container_is_no_video(tmp_path: Path) -> None:
    still: dict[str, Option] = {"vcodec": "libaom-av1", "still-picture": 1, "cpu-used": 8}
    encode(tmp_path / "picture.avif", frames=1, **still)
    with pytest.raises(MediaError, match=r"unreadable.*a HEIF picture \(avif\).*save it as JPEG or PNG"):
        probe(tmp_path / "picture.avif")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("moving.webp", "an animated WEBP of 3 frames; convert it to mp4"),
        ("moving.png", "an animated PNG of 3 frames; convert it to mp4"),
        ("pages.tif", "a TIFF of 3 pages; save each page as a file of its own"),
    ],
)
def test_a_file_of_several_pictures_is_not_taken_for_its_first(tmp_path: Path, name: str, words: str) -> None:
    first, *others = [Image.fromarray(numbered_frame(number)) for number in range(3)]
    first.save(tmp_path / name, save_all=True, append_images=others, duration=40)
    with pytest.raises(MediaError, match=words):
        probe(tmp_path / name)
    first.save(tmp_path / name)
    assert probe(tmp_path / name).data_type == "image"


def test_the_thumbnail_of_a_tiff_is_no_page(tmp_path: Path) -> None:
    picture = Image.fromarray(numbered_frame(0))
    with AppendingTiffWriter(tmp_path / "photo.tif", new=True) as file:
        picture.save(file, "TIFF")
        file.newFrame()
        picture.reduce(4).save(file, "TIFF", tiffinfo={SUBFILE_TYPE: 1})
        file.newFrame()
    assert probe(tmp_path / "photo.tif").data_type == "image"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "the file is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9\n", "a Git LFS pointer.*git lfs pull"),
        (b"<!DOCTYPE html><html>404</html>", "an HTML page; download the file itself"),
        (b"#EXTM3U\n", "no file of a format that is read .*matroska"),
    ],
)
@pytest.mark.parametrize("name", ["a.mp4", "a.jpg"])
def test_what_came_in_place_of_a_clip_is_named(tmp_path: Path, content: bytes, what: str, name: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(MediaError, match=f"unreadable.*{what}"):
        probe(tmp_path / name)


def test_a_file_cannot_make_the_demuxer_open_another_one(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "list.mp4").write_text(f"ffconcat version 1.0\nfile {clips / 'h264.mp4'}\n")
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{clips / 'h264.ts'}\n#EXT-X-ENDLIST\n"
    (tmp_path / "playlist.mp4").write_text(playlist)
    assert reason(tmp_path / "list.mp4") == "unreadable"
    assert reason(tmp_path / "playlist.mp4") == "unreadable"


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp"])
def test_an_image_has_one_frame_and_no_rate(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"picture.{suffix}"
    Image.fromarray(numbered_frame(3)).save(path)
    assert probe(path) == MediaInfo(sha256_file(path), "image", 0.0)


def test_an_image_is_turned_as_its_camera_noted(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn by 90 degrees
    Image.fromarray(numbered_frame(3)).save(tmp_path / "turned.jpg", exif=exif)
    assert read_image(tmp_path / "turned.jpg").shape == (160, 96, 3)


def test_a_damaged_or_oversized_image_says_why(tmp_path: Path) -> None:
    Image.fromarray(numbered_frame(3)).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:400])
    Image.new("1", (20_000, 20_000)).save(tmp_path / "bomb.png")
    assert reason(tmp_path / "cut.png") == "unreadable"
    assert reason(tmp_path / "bomb.png") == "too large"


def test_sixteen_bits_of_grey_keep_their_levels_and_pixels_without_a_range_are_refused(tmp_path: Path) -> None:
    ramp_HW = np.tile(np.arange(256), (64, 1))
    for name in ("grey.png", "grey.tiff"):
        Image.fromarray((ramp_HW * 257).astype(np.uint16)).save(tmp_path / name)
        np.testing.assert_array_equal(read_image(tmp_path / name)[..., 1], ramp_HW)
    for name, dtype in (("integers.tiff", np.int32), ("floats.tiff", np.float32)):
        Image.fromarray(ramp_HW.astype(dtype)).save(tmp_path / name)
        assert reason(tmp_path / name) == "unreadable"


def test_a_folder_of_numbered_images_is_a_video_at_its_own_rate(tmp_path: Path) -> None:
    for number in range(1, 7):
        Image.fromarray(numbered_frame(number)).save(tmp_path / f"{number:05d}.jpg")
    at_three = probe(tmp_path)
    (tmp_path / "fps.txt").write_text("2\n")
    at_two = probe(tmp_path)

    assert (at_three.data_type, at_three.duration) == ("video", 2.0)
    assert at_two.duration == 3.0
    assert at_two.sha256 != at_three.sha256


def test_an_empty_folder_has_no_frames(tmp_path: Path) -> None:
    assert reason(tmp_path) == "no frames"


def test_many_files_are_probed_in_order_with_errors_in_their_places(clips: Path, tmp_path: Path) -> None:
    paths = [clips / "h264.mp4", tmp_path / "absent.mp4", clips / "hevc.mkv", clips / "three-frames.mp4"]
    with Sandbox(Limits(workers=1, timeout_s=60, memory_mb=1024)) as sandbox:
        infos = list(sandbox.map(probe, paths, Path))
    outcomes = [info.reason if isinstance(info, MediaError) else info.duration for info in infos]
    assert outcomes == [pytest.approx(2.4), "missing", pytest.approx(2.4), pytest.approx(0.12)]


def test_random_damage_is_taken_or_refused_and_never_an_unknown_error(clips: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    refused = 0
    for name in ("h264.mp4", "theora.ogv", "mpeg4-b-frames.avi", "vp9.webm", "flv1.flv", "animated.gif"):
        original = (clips / name).read_bytes()
        for _ in range(6):
            data = bytearray(damage(original, 4))
            for place in rng.integers(0, 2000, 20):
                data[place] = rng.integers(256)
            (tmp_path / name).write_bytes(data)
            try:
                assert probe(tmp_path / name).duration > 0
            except (MediaError, MemoryError):
                refused += 1
    assert 0 < refused < 36


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_random_damage_to_pictures_is_no_unknown_error_either(clips: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    refused = 0
    for suffix in ("png", "jpg", "webp", "bmp", "tiff", "gif"):
        path = tmp_path / f"picture.{suffix}"
        Image.fromarray(numbered_frame(3)).save(path)
        original = (clips / "animated.gif").read_bytes() if suffix == "gif" else path.read_bytes()
        for number in range(60):
            data = bytearray(original[: rng.integers(20, len(original))] if number % 2 else original)
            for place in rng.integers(0, min(len(data), 600), 4):
                data[place] = rng.integers(256)
            path.write_bytes(data)
            try:
                assert probe(path).sha256 == sha256_file(path)
            except (MediaError, MemoryError):
                refused += 1
    assert 100 < refused < 360


def test_facts_of_real_clips_agree_with_the_ones_measured_elsewhere(testdata: Path) -> None:
    measured = json.loads((testdata / "video" / "PROBE.json").read_text())
    compared = 0
    for name, facts in measured.items():
        if not facts["n_video"]:
            assert reason(testdata / "video" / name) == "no video stream"
            continue
        video = read_video(testdata / "video" / name)
        if facts["n_video"] > 1:  # the measurement took the first stream, this takes the largest
            assert (name, video.geometry.shown) == ("torchcodec__nasa_13013.mp4", (270, 480))
            continue
        turned = facts["rotation"] % 180 != 0
        assert video.geometry.shown == ((facts["w"], facts["h"]) if turned else (facts["h"], facts["w"]))
        assert len(video.table.pts_N) == (facts["nb_frames_hdr"] if facts.get("decode_error") else facts["decoded"])
        if facts["avg_rate"] != "None":
            numerator, _, denominator = facts["avg_rate"].partition("/")
            assert video.table.fps == pytest.approx(int(numerator) / int(denominator or 1), rel=2e-4)
        compared += 1
    assert compared == 11

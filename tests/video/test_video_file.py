"""Which stream of a file is taken, and how it is shown."""

import io
from pathlib import Path

import ffmpeg
import numpy as np
import pytest
from PIL import Image

from stages.video.decode import decode
from stages.video.video_file import read_video
from tests.video.clips import FFMPEG, H264, OPEN_GOP, encode, numbered_frame, read_number, run


def mjpeg_with_exif(path: Path, orientation: int) -> Path:
    """Five numbered JPEG files with an orientation, as a video."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    pictures = io.BytesIO()
    for number in range(5):
        Image.fromarray(numbered_frame(number)).save(pictures, "JPEG", quality=95, exif=exif)
    run(ffmpeg.input("pipe:", f="mjpeg", r=25).output(str(path), c="copy"), pictures.getvalue())
    return path


@pytest.mark.parametrize("suffix", ["avi", "mov", "mkv"])
@pytest.mark.parametrize(("orientation", "turn"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_side_data_that_the_library_has_no_name_for_costs_nothing_and_turns_the_picture(
    tmp_path: Path, suffix: str, orientation: int, turn: int
) -> None:
    video = read_video(mjpeg_with_exif(tmp_path / f"clip.{suffix}", orientation))
    (frame_HWC,) = decode(video, np.array([3]), lambda frames_THWC: frames_THWC)
    assert np.abs(frame_HWC.astype(int) - np.rot90(numbered_frame(3), turn)).mean() < 3


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
def test_a_still_beside_a_video_is_not_the_video(clips: Path, tmp_path: Path, suffix: str) -> None:
    still = encode(tmp_path / "still.mp4", frames=1, vf="scale=640:384", **H264)
    both = (ffmpeg.input(str(still)), ffmpeg.input(str(clips / "h264.mp4")))
    photo = tmp_path / f"photo.{suffix}"
    run(ffmpeg.output(*(each["v"] for each in both), str(photo), c="copy"))
    video = read_video(photo)
    frames = decode(video, np.arange(60), lambda frames_THWC: frames_THWC)
    assert video.geometry.shown == (96, 160)
    assert [read_number(frame) for frame in frames] == list(range(60))


def test_of_two_videos_the_larger_is_taken(clips: Path, tmp_path: Path) -> None:
    large = encode(tmp_path / "large.mp4", frames=20, vf="scale=320:192", **OPEN_GOP)
    both = (ffmpeg.input(str(clips / "h264.mp4")), ffmpeg.input(str(large)))
    run(ffmpeg.output(*(each["v"] for each in both), str(tmp_path / "both.mp4"), c="copy"))
    assert read_video(tmp_path / "both.mp4").geometry.shown == (192, 320)


@pytest.mark.parametrize(
    ("name", "output"),
    [
        ("mjpeg.avi", {"vcodec": "mjpeg", "q:v": 2, "pix_fmt": "yuvj420p"}),
        ("mjpeg-limited.mov", {"vcodec": "mjpeg", "q:v": 2, "color_range": "tv", "strict": "unofficial"}),
        ("smc.mov", {"vcodec": "smc", "pix_fmt": "pal8"}),
        ("raw.avi", {"vcodec": "rawvideo", "pix_fmt": "pal8"}),
    ],
)
def test_colours_of_palettes_and_of_motion_jpeg_are_those_that_ffmpeg_shows(
    tmp_path: Path, name: str, output: dict[str, str]
) -> None:
    bars = ffmpeg.input("testsrc=s=160x96:r=25:d=0.4", f="lavfi")
    run(bars.output(str(tmp_path / name), **output))
    shown = ffmpeg.input(str(tmp_path / name)).output("pipe:", format="rawvideo", pix_fmt="rgb24")
    raw, _ = shown.run(FFMPEG, quiet=True)
    expected_THWC = np.frombuffer(raw, np.uint8).reshape(-1, 96, 160, 3).astype(int)
    video = read_video(tmp_path / name)
    frames = decode(video, np.array([2, 7]), lambda frames_THWC: frames_THWC)
    assert np.abs(np.stack(frames) - expected_THWC[[2, 7]]).mean() < 2

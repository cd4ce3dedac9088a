"""Pictures shown before the first keyframe of a file that was cut."""

from pathlib import Path

import numpy as np
import pytest

from stages.video.decode import decode
from stages.video.video_file import read_video
from tests.video.clips import OPEN_GOP, Option, encode, read_number, remux

X265 = "keyint=12:min-keyint=12:scenecut=0:bframes=4:b-adapt=0:log-level=none:pools=1:frame-threads=1"
RADL: dict[str, Option] = {"vcodec": "libx265", "x265-params": f"{X265}:open-gop=0:radl=2"}
OPEN: dict[str, Option] = {"vcodec": "libx265", "x265-params": f"{X265}:open-gop=1"}
MPEG2: dict[str, Option] = {"vcodec": "mpeg2video", "bf": 2, "g": 12, "q:v": 2}


def cut(path: Path, packets: int, **output: Option) -> Path:
    """A clip of 40 frames without its first `packets` packets."""
    whole = encode(path.with_stem("whole"), frames=40, **output)
    return remux(path, whole, bsf=f"noise=drop=lt(n\\,{packets})")


@pytest.mark.parametrize("suffix", ["ts", "mkv", "mp4"])
def test_leading_pictures_that_need_nothing_from_before_are_kept(tmp_path: Path, suffix: str) -> None:
    clip = cut(tmp_path / f"cut.{suffix}", 5, **RADL)  # begins with frame 12, then 10 and 11
    video = read_video(clip)
    frames = decode(video, np.arange(len(video.table.pts_N)), lambda frames_THWC: frames_THWC)
    assert [read_number(frame) for frame in frames] == list(range(10, 40))
    few = decode(video, np.array([0, 1, 20]), lambda frames_THWC: frames_THWC)
    assert [read_number(frame) for frame in few] == [10, 11, 30]


@pytest.mark.parametrize("suffix", ["ts", "mkv", "mp4"])
@pytest.mark.parametrize("output", [OPEN, OPEN_GOP, MPEG2], ids=["hevc", "h264", "mpeg2"])
def test_leading_pictures_of_an_open_group_are_left_out(tmp_path: Path, suffix: str, output: dict[str, Option]) -> None:
    clip = cut(tmp_path / f"cut.{suffix}", 14, **output)
    video = read_video(clip)
    frames = decode(video, np.arange(len(video.table.pts_N)), lambda frames_THWC: frames_THWC)
    assert [read_number(frame) for frame in frames] == list(range(24, 40))


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_stream_of_vvc_that_begins_with_leading_pictures_is_whole(tmp_path: Path, suffix: str) -> None:
    clip = encode(tmp_path / f"clip.{suffix}", frames=40, vcodec="libvvenc", preset="faster", g=12)
    video = read_video(clip)
    frames = decode(video, np.arange(len(video.table.pts_N)), lambda frames_THWC: frames_THWC)
    assert [read_number(frame) for frame in frames] == list(range(40))

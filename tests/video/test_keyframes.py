"""Frames are exact whatever the container says of keyframes."""

from pathlib import Path

import numpy as np
import pytest

from stages.video.decode import decode
from stages.video.video_file import read_video
from tests.video.clips import H264, OPEN_GOP, X265, Option, encode, read_number
from tests.video.marks import Mark, marked, without_index

FRAMES = 40
FEW = [0, 5, 6, 7, 13, 14, 17, 18, 20, 25, 29, 30, 37, 38, 39]

OLD: dict[str, Option] = {"g": 12, "q:v": 2, "vf": "scale=176:144"}  # a size that H.261 and H.263 have
VPX: dict[str, Option] = {"g": 12, "b:v": "600k"}
AV1: dict[str, Option] = {"vcodec": "libsvtav1", "g": 12, "preset": 8, "crf": 15, "svtav1-params": "lp=1"}

ENCODED: dict[str, dict[str, Option]] = {
    "h261": {"vcodec": "h261", **OLD},
    "h263": {"vcodec": "h263", **OLD},
    "h263+": {"vcodec": "h263p", **OLD},
    "mpeg4": {"vcodec": "mpeg4", **OLD},
    "mpeg4-b-frames": {"vcodec": "mpeg4", "bf": 2, **OLD},
    "xvid": {"vcodec": "libxvid", **OLD},
    "msmpeg4v2": {"vcodec": "msmpeg4v2", **OLD},
    "msmpeg4v3": {"vcodec": "msmpeg4", **OLD},
    "wmv1": {"vcodec": "wmv1", **OLD},
    "wmv2": {"vcodec": "wmv2", **OLD},
    "flv1": {"vcodec": "flv", **OLD},
    "theora": {"vcodec": "libtheora", **OLD, "q:v": 9},
    "cinepak": {"vcodec": "cinepak", **OLD, "pix_fmt": "rgb24", "frames:v": 8},  # its encoder is slow
    "msvideo1": {"vcodec": "msvideo1", **OLD, "pix_fmt": "rgb555le"},
    "rpza": {"vcodec": "rpza", **OLD, "pix_fmt": "rgb555"},
    "smc": {"vcodec": "smc", **OLD, "pix_fmt": "pal8"},
    "svq1": {"vcodec": "svq1", **OLD, "pix_fmt": "yuv410p"},
    "qtrle": {"vcodec": "qtrle", **OLD, "pix_fmt": "rgb24"},
    "msrle": {"vcodec": "msrle", **OLD, "pix_fmt": "pal8"},
    "zmbv": {"vcodec": "zmbv", **OLD, "pix_fmt": "bgr0"},
    "flashsv": {"vcodec": "flashsv", **OLD, "pix_fmt": "bgr24"},
    "snow": {"vcodec": "snow", **OLD},
    "ffv1": {"vcodec": "ffv1", **OLD},
    "raw-palette": {"vcodec": "rawvideo", "pix_fmt": "pal8"},
    "mjpeg": {"vcodec": "mjpeg", "q:v": 2, "pix_fmt": "yuvj420p"},
    "png": {"vcodec": "png", **OLD, "pix_fmt": "rgb24"},
    "huffyuv": {"vcodec": "huffyuv", "pix_fmt": "yuv422p"},
    "h264": H264,
    "h264-open-gop": OPEN_GOP,
    "hevc": X265,
    "vp8": {"vcodec": "libvpx", **VPX},
    "vp9": {"vcodec": "libvpx-vp9", "cpu-used": 8, "deadline": "realtime", **VPX},
    "av1": AV1,
    "mpeg1": {"vcodec": "mpeg1video", "bf": 2, **OLD},
    "mpeg2": {"vcodec": "mpeg2video", "bf": 2, **OLD},
}
CONTAINERS = {
    "avi": "h261 h263 h263+ mpeg4 mpeg4-b-frames xvid msmpeg4v2 msmpeg4v3 wmv1 wmv2 flv1 cinepak msvideo1 msrle zmbv "
    "flashsv snow ffv1 raw-palette mjpeg png huffyuv h264 vp8 vp9 mpeg1 mpeg2",
    "mp4": "mpeg4 mpeg4-b-frames xvid h264 h264-open-gop hevc vp9 av1 mpeg1 mpeg2",
    "mov": "h261 h263 h263+ mpeg4 cinepak rpza smc svq1 qtrle raw-palette mjpeg png",
    "mkv": "h261 h263 h263+ mpeg4 mpeg4-b-frames msmpeg4v2 msmpeg4v3 wmv1 wmv2 flv1 theora cinepak msvideo1 rpza zmbv "
    "snow ffv1 mjpeg png h264 h264-open-gop hevc vp8 vp9 av1 mpeg1 mpeg2",
    "flv": "flv1 flashsv h264 h264-open-gop",
}
# Those that were wrong, and one of each kind that was right.
FAST = {
    *("h261.mkv", "h263.avi", "h263+.mov", "mpeg4.mp4", "msmpeg4v2.avi", "msmpeg4v3.mkv", "wmv1.mkv", "wmv2.avi"),
    *("flv1.flv", "msvideo1.avi", "smc.mov", "zmbv.mkv", "svq1.mov", "snow.avi", "cinepak.mov", "rpza.mkv"),
    *("h264.avi", "h264-open-gop.mp4", "mpeg2.mkv", "mjpeg.avi", "theora.mkv"),
}
FILES = [f"{codec}.{container}" for container, codecs in CONTAINERS.items() for codec in codecs.split()]
MARKS: dict[str, Mark] = {
    "all": lambda number: True,
    "none": lambda number: False,
    "others": lambda number: number == 0 or number % 12 == 5,
}


@pytest.mark.parametrize(
    "name", [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in FILES]
)
def test_frames_are_exact_with_the_right_marks_of_keyframes_with_none_and_with_wrong_ones(
    tmp_path: Path, name: str
) -> None:
    path = encode(tmp_path / name, frames=FRAMES, **ENCODED[Path(name).stem])
    original = path.read_bytes()
    variants = {"right": original, "no index": without_index(original)}
    variants |= {kind: marked(original, mark) for kind, mark in MARKS.items()}

    read: dict[str, list[int]] = {}
    for kind, data in variants.items():
        path.write_bytes(data)
        video = read_video(path)
        few = [index for index in FEW if index < len(video.table.pts_N)]
        read[kind] = [read_number(frame) for frame in decode(video, np.array(few), lambda frames_THWC: frames_THWC)]

    expected = [number for number in FEW if number < (8 if "cinepak" in name else FRAMES)]
    assert read == dict.fromkeys(variants, expected)


@pytest.mark.parametrize(
    "name", ["h263.avi", "h263+.avi", "mpeg4.mkv", "msmpeg4v2.avi", "wmv1.mkv", "wmv2.avi", "flv1.flv"]
)
def test_the_picture_type_in_the_header_finds_every_keyframe_and_no_other(tmp_path: Path, name: str) -> None:
    path = encode(tmp_path / name, frames=FRAMES, **ENCODED[Path(name).stem])
    path.write_bytes(marked(path.read_bytes(), lambda number: True))
    keys_K = read_video(path).table.keys_K
    assert keys_K is not None
    assert keys_K.tolist() == [0, 12, 24, 36]


def test_where_no_start_is_known_nobody_counts_keyframes(tmp_path: Path) -> None:
    table = read_video(encode(tmp_path / "clip.avi", frames=FRAMES, **ENCODED["msvideo1"])).table
    assert table.count_keyframes(np.array([0, 39])) is None
    assert table.needed(np.array([20])).tolist() == [True] * 21

"""A file that ends earlier than it says is refused."""

from pathlib import Path

import numpy as np
import pytest

from stages.video.decode import decode
from stages.video.media import MediaError
from stages.video.probe import probe
from stages.video.video_file import read_video
from tests.video.clips import H264, Option, encode, read_number

VP8: dict[str, Option] = {"vcodec": "libvpx", "g": 20, "b:v": "300k"}
HUFFYUV: dict[str, Option] = {"vcodec": "huffyuv", "pix_fmt": "yuv422p"}
ENCODED: dict[str, dict[str, Option]] = {
    "h264.mkv": H264,
    "h264-live.mkv": {**H264, "live": 1},  # without a length of the file or of its clusters
    "huffyuv.mkv": HUFFYUV,
    "vp8.webm": VP8,
    "vp8-live.webm": {**VP8, "live": 1},
    "mpeg4.avi": {"vcodec": "mpeg4", "g": 12, "q:v": 2},
    "huffyuv.avi": HUFFYUV,
    "mjpeg.avi": {"vcodec": "mjpeg", "q:v": 2, "pix_fmt": "yuvj420p"},
    "vp8.avi": VP8,
    "h264.flv": H264,
    "wmv2.wmv": {"vcodec": "wmv2", "g": 12, "q:v": 2},
    "vp8.ogv": VP8,
    "theora.ogv": {"vcodec": "libtheora", "g": 12, "q:v": 9},
    "animated.gif": {"pix_fmt": "rgb8"},
    "vp8.ivf": VP8,
    "fragmented.mp4": {**H264, "movflags": "frag_keyframe+empty_moov"},
}


@pytest.mark.parametrize("name", ENCODED)
def test_a_file_that_was_cut_is_refused_wherever_it_was_cut(tmp_path: Path, name: str) -> None:
    path = encode(tmp_path / name, **ENCODED[name])
    whole = path.read_bytes()
    assert len(read_video(path).table.pts_N) == 60
    for share in (0.35, 0.6, 0.61, 0.8, 0.9):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(MediaError) as caught:
            probe(path)
        assert caught.value.reason in ("truncated", "unreadable"), share  # unreadable where no frame is left


@pytest.mark.parametrize(
    "name", ["h264.mkv", "huffyuv.mkv", "vp8.webm", "huffyuv.avi", "vp8.avi", "vp8.ogv", "animated.gif"]
)
def test_a_download_that_is_zeros_from_some_place_on_is_refused(tmp_path: Path, name: str) -> None:
    path = encode(tmp_path / name, **ENCODED[name])
    whole = path.read_bytes()
    for share in (0.35, 0.6, 0.8):
        start = int(len(whole) * share)
        path.write_bytes(whole[:start] + bytes(len(whole) - start))
        with pytest.raises(MediaError) as caught:
            probe(path)
        assert caught.value.reason in ("truncated", "unreadable"), share


def test_an_avi_file_without_its_index_is_whole(tmp_path: Path) -> None:
    path = encode(tmp_path / "clip.avi", vcodec="mpeg4", g=12)
    data = path.read_bytes()
    path.write_bytes(data[: data.rindex(b"idx1")])
    assert len(read_video(path).table.pts_N) == 60


def test_a_gif_without_its_trailer_is_whole(tmp_path: Path) -> None:
    path = encode(tmp_path / "animated.gif", pix_fmt="rgb8")
    path.write_bytes(path.read_bytes().rstrip(b";"))
    assert len(read_video(path).table.pts_N) == 60


@pytest.mark.parametrize("end", [b"\0", b"\0" * 5000, b"TAG" + b" " * 125])
@pytest.mark.parametrize("name", ["h264.mkv", "vp8.webm", "mpeg4.avi", "wmv2.wmv", "vp8.ogv", "animated.gif"])
def test_bytes_behind_the_end_do_no_harm(tmp_path: Path, name: str, end: bytes) -> None:
    path = encode(tmp_path / name, **ENCODED[name])
    path.write_bytes(path.read_bytes() + end)
    assert len(read_video(path).table.pts_N) == 60


@pytest.mark.parametrize("share", [0.35, 0.61, 0.97])
def test_a_transport_stream_says_nothing_of_its_length_and_has_the_frames_up_to_its_end(
    tmp_path: Path, share: float
) -> None:
    path = encode(tmp_path / "clip.ts", **H264)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    table = read_video(path).table
    numbers = (table.seconds_N[:-1] * 25).round().astype(int)  # the last packet may be cut
    frames = decode(read_video(path), np.arange(len(numbers)), lambda frames_THWC: frames_THWC)
    assert [read_number(frame) for frame in frames] == numbers.tolist()

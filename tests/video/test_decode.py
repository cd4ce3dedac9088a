from pathlib import Path

import ffmpeg
import numpy as np
import pytest
from PIL import Image

from stages.video.decode import decode
from stages.video.media import MediaError
from stages.video.video_file import read_video
from tests.video.clips import ENCODED, FFMPEG, H264, OPEN_GOP, damage, encode, read_number, remux, run

# The frames each file shows: 0..59 at 25 per second if it is not named here.
SHOWN = {
    "one-frame.mp4": [0],
    "three-frames.mp4": [0, 1, 2],
    "variable-rate.mp4": [*range(20), *range(20, 60, 4)],
    "edit-start.mp4": list(range(13, 60)),  # begins at 0.5 s, frame 12.5
    "edit-start-open-gop.mp4": list(range(24, 60)),  # 23 was cut off and its group's first frames with it
    "edit-end.mp4": list(range(25)),
}
UPRIGHT = [*ENCODED, "edit-start.mp4", "edit-start-open-gop.mp4", "edit-end.mp4", "cover-art.mp4", "index-first.mp4"]


def numbers(path: Path, indices: list[int]) -> list[int]:
    return [
        read_number(frame) for frame in decode(read_video(path), np.array(indices), lambda frames_THWC: frames_THWC)
    ]


@pytest.mark.parametrize("name", UPRIGHT)
def test_the_table_lists_every_frame_shown_and_each_decodes_to_itself(clips: Path, name: str) -> None:
    shown = SHOWN.get(name, list(range(60)))
    video = read_video(clips / name)

    assert len(video.table.pts_N) == len(shown)
    assert numbers(clips / name, list(range(len(shown)))) == shown


@pytest.mark.parametrize("name", UPRIGHT)
def test_a_few_frames_are_the_same_ones_as_when_all_are_decoded(clips: Path, name: str) -> None:
    shown = SHOWN.get(name, list(range(60)))
    rng = np.random.default_rng(0)
    for count in (1, 1, 2, 4, 16):
        indices = np.sort(rng.choice(len(shown), min(count, len(shown)), replace=False)).tolist()
        assert numbers(clips / name, indices) == [shown[index] for index in indices]


@pytest.mark.parametrize("name", ["h264.mp4", "hevc.mp4", "h264-open-gop.mp4", "h264.ts", "vp9.webm"])
def test_skipping_what_nobody_asked_for_changes_no_pixel(clips: Path, name: str) -> None:
    video, few = read_video(clips / name), np.array([3, 17, 31, 50])
    every = decode(video, np.arange(60), lambda frames_THWC: frames_THWC)
    np.testing.assert_array_equal(decode(video, few, lambda frames_THWC: frames_THWC), [every[index] for index in few])


def test_only_the_packets_that_lead_to_a_wanted_frame_are_needed(clips: Path) -> None:
    table = read_video(clips / "h264.mp4").table  # a keyframe every 12 frames
    needed = table.needed(np.array([2, 50]))
    assert table.keys_K is not None
    assert table.keys_K.tolist() == [0, 12, 24, 36, 48]
    assert not needed[12:48].any()
    assert needed[0]
    assert needed[48]


def test_times_follow_the_time_stamps_and_not_the_mean_rate(clips: Path) -> None:
    table = read_video(clips / "variable-rate.mp4").table
    expected = [number / 25 for number in SHOWN["variable-rate.mp4"]]
    np.testing.assert_allclose(table.seconds_N, expected, atol=1e-9)
    assert table.duration == pytest.approx(2.4)
    assert table.fps == pytest.approx(30 / 2.4)


@pytest.mark.parametrize("name", ["rotated-90.mp4", "rotated-180.mp4", "rotated-270.mp4", "mirrored.mp4"])
def test_frames_stand_upright_as_ffmpeg_shows_them(clips: Path, name: str) -> None:
    video = read_video(clips / name)
    height, width = video.geometry.shown
    raw, _ = ffmpeg.input(str(clips / name)).output("pipe:", format="rawvideo", pix_fmt="gray").run(FFMPEG, quiet=True)
    expected_THW = np.frombuffer(raw, np.uint8).reshape(60, height, width).astype(int)

    frames = decode(video, np.array([0, 21, 59]), lambda frames_THWC: frames_THWC)

    for frame_HWC, expected_HW in zip(frames, expected_THW[[0, 21, 59]], strict=True):
        assert np.abs(frame_HWC.mean(axis=2) - expected_HW).mean() < 3  # another turn is off by 60 and more


def test_a_stream_that_changes_its_size_keeps_every_frame(clips: Path, tmp_path: Path) -> None:
    small = encode(tmp_path / "small.ts", frames=20, vf="scale=80:48", **H264)
    large = encode(tmp_path / "large.ts", frames=20, output_ts_offset=0.8, **H264)
    (tmp_path / "both.ts").write_bytes(small.read_bytes() + large.read_bytes())
    frames = decode(read_video(tmp_path / "both.ts"), np.array([3, 19, 20, 37]), lambda frames_THWC: frames_THWC)
    assert [frame_HWC.shape for frame_HWC in frames] == [(48, 80, 3)] * 2 + [(96, 160, 3)] * 2
    assert [read_number(frame_HWC) for frame_HWC in frames] == [3, 19, 0, 17]


def test_time_stamps_that_a_muxer_made_up_do_not_order_the_frames(clips: Path, tmp_path: Path) -> None:
    bare = remux(tmp_path / "bare.h264", clips / "h264.mp4", f="h264")
    copied = remux(
        tmp_path / "copied.mp4", bare, source={"r": 25, "fflags": "+genpts"}
    )  # numbered in the order of the file
    shown = numbers(copied, list(range(len(read_video(copied).table.pts_N))))
    assert len(shown) == 58  # its edit list, made up as well, cuts two
    assert shown == sorted(shown)


def test_two_frames_with_each_others_time_stamps_are_refused(clips: Path, tmp_path: Path) -> None:
    swap = "setts=pts='PTS-512*eq(N,1)+512*eq(N,2)':dts=DTS"  # of frames 2 and 1, which are stored in this order
    swapped = remux(tmp_path / "swapped.mp4", clips / "h264.mp4", bsf=swap)
    with pytest.raises(MediaError, match=r"no timestamps.*its frames come in another order"):
        numbers(swapped, [0, 1, 2, 3])
    assert numbers(swapped, [20, 40]) == [20, 40]  # other groups of pictures


@pytest.mark.parametrize("offset", [0, -50, -0.5])
def test_recordings_joined_byte_by_byte_show_one_after_the_other(tmp_path: Path, offset: float) -> None:
    first = encode(tmp_path / "first.ts", frames=30, output_ts_offset=100, **OPEN_GOP)
    second = encode(tmp_path / "second.ts", frames=20, output_ts_offset=100 + offset, **OPEN_GOP)
    (tmp_path / "both.ts").write_bytes(first.read_bytes() + second.read_bytes())
    table = read_video(tmp_path / "both.ts").table
    assert numbers(tmp_path / "both.ts", list(range(len(table.pts_N)))) == [*range(30), *range(20)]
    assert (table.duration, table.fps) == (pytest.approx(2.0), pytest.approx(25))


def test_time_stamps_in_the_order_of_the_file_are_kept_where_the_decoder_confirms_them(tmp_path: Path) -> None:
    video = read_video(
        encode(tmp_path / "no-b-frames.ts", vcodec="mpeg2video", g=12)
    )  # whose stream says that it may have some
    assert not video.table.counted
    assert video.table.keys_K is not None
    assert len(video.table.keys_K) == 5


def test_a_recording_in_which_a_stream_is_added_on_the_way_is_read_to_its_end(tmp_path: Path) -> None:
    noise = ffmpeg.input("nullsrc=s=320x240:r=25:d=2", f="lavfi").filter(
        "noise", alls=100, allf="t"
    )  # more than is read to find streams
    parts = [[noise], [noise, ffmpeg.input("sine=d=2", f="lavfi")], [noise]]
    for number, streams in enumerate(parts):
        output = {"vcodec": "mpeg2video", "g": 1, "q:v": 1, "output_ts_offset": 10 * number, "tables_version": number}
        run(ffmpeg.output(*streams, str(tmp_path / f"{number}.ts"), **output))
    (tmp_path / "all.ts").write_bytes(b"".join((tmp_path / f"{number}.ts").read_bytes() for number in range(3)))
    assert len(read_video(tmp_path / "all.ts").table.pts_N) == 150


def test_colours_that_cannot_be_converted_are_refused(clips: Path, tmp_path: Path) -> None:
    remux(tmp_path / "ycgco.mp4", clips / "h264.mp4", bsf="h264_metadata=matrix_coefficients=8")
    with pytest.raises(MediaError, match=r"unreadable.*yuv420p in colour space 8 cannot be converted to RGB"):
        numbers(tmp_path / "ycgco.mp4", [3])


def test_wide_pixels_count_in_the_size_shown(clips: Path) -> None:
    assert read_video(clips / "wide-pixels.mp4").geometry.shown == (96, 320)


def test_ten_bits_and_full_range_keep_their_levels(clips: Path) -> None:
    for name in ("h264.mp4", "10-bit.mp4", "full-range.mp4"):
        (frame_HWC,) = decode(read_video(clips / name), np.array([31]), lambda frames_THWC: frames_THWC)
        levels = [frame_HWC[8:40, 32 * column + 8 : 32 * column + 24].mean() for column in range(5)]
        assert levels == pytest.approx(
            [40] * 5, abs=8
        )  # the upper five bits of 31 are dark, limited range as full would be 30


def test_a_damaged_video_is_refused_and_says_how_much_is_damaged(clips: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "flipped.mp4"
    damaged.write_bytes(damage((clips / "h264.mp4").read_bytes(), 12))
    with pytest.raises(MediaError, match=r"corrupt.*\d+ damaged packets or frames"):
        numbers(damaged, list(range(60)))


def test_damage_is_let_through_up_to_the_limit_as_long_as_every_wanted_frame_comes_out(testdata: Path) -> None:
    video = read_video(testdata / "video" / "decord__corrupted.mp4")  # 50 frames, damaged in the middle
    with pytest.raises(MediaError, match="corrupt"):
        decode(video, np.array([0, 49]), lambda frames_THWC: frames_THWC)
    with pytest.raises(MediaError, match="missing frame"):
        decode(video, np.arange(50), lambda frames_THWC: frames_THWC, max_corrupt=100)
    assert len(decode(video, np.array([0, 49]), lambda frames_THWC: frames_THWC, max_corrupt=100)) == 2
    assert len(decode(video, np.array([0, 9]), lambda frames_THWC: frames_THWC)) == 2  # before the damage


@pytest.mark.parametrize(
    "name",
    [
        "../failing/video/divx3_no_idx1.avi",
        "../failing/video/exif_mjpeg.avi",
        "../failing/video/exif_mjpeg.mov",
        "../failing/video/h263_small.avi",
        "../failing/video/leading_pictures_hevc.ts",
        "../failing/video/mpeg4_no_stss_small.mp4",
        "../failing/video/wmv2_no_idx1.avi",
        "decord__flipping_a_pancake.mkv",
        "decord__unordered.mov",
        "decord__video_90.mov",
        "llamafactory__1.mp4",
        "llamafactory__2.avi",
        "llamafactory__3.mp4",
        "torchcodec__av1_video.mkv",
        "torchcodec__h265_10bits.mp4",
        "torchcodec__nasa_13013.mp4",
        "video1.mp4",
    ],
)
def test_frames_of_real_clips_are_those_that_ffmpeg_shows_at_their_places(testdata: Path, name: str) -> None:
    path = testdata / "video" / name
    whole = ffmpeg.input(str(path)).output(
        "pipe:", format="rawvideo", pix_fmt="gray", s="64x48", sws_flags="area", fps_mode="passthrough"
    )
    raw, _ = whole.run(FFMPEG, quiet=True)
    shown_NHW = np.frombuffer(raw, np.uint8).reshape(-1, 48, 64).astype(float)
    video = read_video(path)
    assert len(video.table.pts_N) == len(shown_NHW)

    indices_T = np.unique(np.linspace(0, len(shown_NHW) - 1, 9).round().astype(int))
    for index, frame_HWC in zip(indices_T, decode(video, indices_T, lambda frames_THWC: frames_THWC), strict=True):
        small_HW = np.asarray(
            Image.fromarray(frame_HWC).convert("L").resize((64, 48), Image.Resampling.BOX), dtype=float
        )
        difference_N = np.abs(shown_NHW - small_HW).mean(axis=(1, 2))
        assert difference_N[index] <= difference_N.min() + 0.1  # frames that stand still are alike
        assert difference_N[index] < 5

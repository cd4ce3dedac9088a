"""Where decord is wrong, which is why it is not the default."""

from pathlib import Path

import pytest

from stages.video.extract import extract
from stages.video.frame_store import FrameReader
from tests.video.clips import read_number
from tests.video.samples import params, sample

TRUE = [0, 4, 8, 12, 16, 20, 24, 28, 31, 35, 39, 43, 47, 51, 55, 59]


def test_decord_is_right_on_closed_groups_and_silently_wrong_or_unable_elsewhere(clips: Path, tmp_path: Path) -> None:
    names = [
        "h264.mp4",
        "variable-rate.mp4",
        "h264-open-gop.mp4",
        "hevc.mp4",
        "h264.ts",
        "mpeg4-b-frames.avi",
        "av1.mp4",
    ]
    media = [sample(name, clips / name) for name in names]
    spec = params(decoder="decord", max_frames=16, memory_mb=2048)

    rejects = extract(media, spec, tmp_path / "frames", tmp_path / "frames.parquet", stage="frames")

    reader = FrameReader(tmp_path / "frames", tmp_path / "frames.parquet")
    taken = {name: [read_number(frame) for frame in reader.load(name).frames_THWC] for name in reader.sample_ids}
    assert [(reject.sample_id, reject.reason) for reject in rejects] == [("av1.mp4", "unreadable")]
    assert taken["h264.mp4"] == TRUE
    assert taken["variable-rate.mp4"][:12] == [0, 2, 4, 6, 8, 10, 12, 14, 15, 17, 19, 24]
    right = {name: sum(map(int.__eq__, taken[name], TRUE)) for name in names[2:-1]}
    assert all(count < 10 for count in right.values()), right


@pytest.mark.parametrize("name", ["h264-open-gop.mp4", "hevc.mp4", "h264.ts", "mpeg4-b-frames.avi", "av1.mp4"])
def test_the_default_decoder_is_right_on_all_of_them(clips: Path, tmp_path: Path, name: str) -> None:
    media = [sample(name, clips / name)]
    assert extract(media, params(max_frames=16), tmp_path / "frames", tmp_path / "frames.parquet", stage="frames") == []
    frames = FrameReader(tmp_path / "frames", tmp_path / "frames.parquet").load(name)
    assert [read_number(frame) for frame in frames.frames_THWC] == TRUE

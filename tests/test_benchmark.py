import json
from pathlib import Path
from typing import Any

import pytest

from stages.benchmark import BenchmarkParams, run
from stages.data.errors import UserError
from stages.data.files import read_json
from stages.data.sample import read_rejects, read_samples
from stages.video.frame_store import FrameReader
from tests.video.clips import H264, damage, encode, read_number
from tests.video.samples import PARAMS


def record(number: int, path: str) -> dict[str, Any]:
    return {
        "problem_id": number,
        "problem": "Which way does it move?",
        "data_type": "video",
        "problem_type": "multiple choice",
        "options": ["A. left", "B. right"],
        "solution": "<answer>A</answer>",
        "path": path,
        "original_question_type": "direction",
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A benchmark of four questions, one of which can be asked: the others' clips are damaged, no video, or not there."""
    clip = encode(tmp_path / "clip.mp4", frames=30, **H264)
    (tmp_path / "damaged.mp4").write_bytes(damage(clip.read_bytes(), 30))
    (tmp_path / "text.mp4").write_text("no video")
    paths = ["clip.mp4", "damaged.mp4", "text.mp4", "absent.mp4"]
    (tmp_path / "benchmark.json").write_text(json.dumps([record(number, path) for number, path in enumerate(paths)]))
    return tmp_path


def run_in(root: Path, **changes: Any) -> None:
    run(BenchmarkParams(**{**PARAMS, **changes}), "shapes", root, root / "out", root / "metrics.json")


def test_every_question_is_either_ready_to_ask_or_in_the_quarantine_and_too_many_there_stop_the_stage(root: Path) -> None:
    with pytest.raises(UserError, match=r"3 of 4 questions of shapes .* benchmark.max_rejected = 0.5"):
        run_in(root, max_rejected=0.5)
    run_in(root, max_rejected=0.75)

    (kept,) = read_samples(root / "out" / "samples.parquet")
    frames = FrameReader(root / "out" / "frames", root / "out" / "frames.parquet").load(kept.sample_id)
    reasons = {reject.sample_id[-1]: reject.reason for reject in read_rejects(root / "out" / "quarantine.parquet")}
    assert [read_number(frame) for frame in frames.frames_THWC] == [0, 4, 8, 12, 17, 21, 25, 29]
    assert reasons == {"1": "corrupt", "2": "unreadable", "3": "missing media"}
    assert read_json(root / "metrics.json") == {
        "kept": 1,
        "quarantined": 3,
        "reasons": {"corrupt": 1, "missing media": 1, "unreadable": 1},
        "categories": {"direction": 1},
    }


def test_an_unknown_benchmark_is_named(root: Path) -> None:
    with pytest.raises(UserError, match="unknown benchmark 'shape'; did you mean 'shapes'"):
        run(BenchmarkParams(**PARAMS), "shape", root, root / "out", root / "metrics.json")

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stages.benchmark import BenchmarkParams, run
from stages.data.sample import read_rejects, read_samples
from stages.evaluation.benchmarks import get_benchmark
from stages.run.errors import UserError
from stages.run.files import read_json
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
    """A benchmark of four questions, of which one can be asked."""
    clip = encode(tmp_path / "clip.mp4", frames=30, **H264)
    (tmp_path / "damaged.mp4").write_bytes(damage(clip.read_bytes(), 30))
    (tmp_path / "text.mp4").write_text("no video")
    paths = ["clip.mp4", "damaged.mp4", "text.mp4", "absent.mp4"]
    (tmp_path / "benchmark.json").write_text(json.dumps([record(number, path) for number, path in enumerate(paths)]))
    return tmp_path


def run_in(root: Path, **changes: Any) -> None:
    run(BenchmarkParams(**{**PARAMS, **changes}), "shapes", root, root / "out", root / "metrics.json")


def test_every_question_is_either_ready_to_ask_or_in_the_quarantine_and_too_many_there_stop_the_stage(
    root: Path,
) -> None:
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
    with pytest.raises(UserError, match=r"3 of 4 questions of shapes .* benchmark.max_rejected = 0.5"):
        run_in(root, max_rejected=0.5)
    assert not (root / "out" / "samples.parquet").exists()  # of the run before


def test_the_frame_budget_is_said_in_one_place(root: Path) -> None:
    own: dict[str, Any] = {name: value for name, value in PARAMS.items() if name != "max_frames"} | {
        "max_rejected": 0.75
    }
    paths = (root, root / "out", root / "metrics.json")
    run(BenchmarkParams(**own), "shapes", *paths, frames=4)
    (kept,) = read_samples(root / "out" / "samples.parquet")
    assert len(FrameReader(root / "out" / "frames", root / "out" / "frames.parquet").pictures(kept.sample_id)) == 4
    with pytest.raises(UserError, match="--frames is 0; it must be from 1 to 1024"):
        run(BenchmarkParams(**own), "shapes", *paths, frames=0)
    with pytest.raises(UserError, match="--frames and max_frames both set the frame budget"):
        run(BenchmarkParams(**PARAMS), "shapes", *paths, frames=4)


def test_subtitles_are_those_of_the_frames_that_are_shown(tmp_path: Path) -> None:
    encode_to = tmp_path / "data" / "abc.mp4"
    encode_to.parent.mkdir()
    encode(encode_to, frames=50, **H264)  # two seconds; eight frames, 0.28 s apart
    (tmp_path / "subtitle").mkdir()
    lines = "1\n00:00:00,500 --> 00:00:00,600\nSeen.\n\n2\n00:00:01,000 --> 00:00:01,050\nBetween two frames.\n"
    (tmp_path / "subtitle" / "abc.srt").write_text(lines)
    (tmp_path / "videomme").mkdir()
    question = {
        "videoID": "abc",
        "question_id": "1",
        "duration": "short",
        "question": "Who?",
        "answer": "A",
        "options": ["A. he", "B. she"],
    }
    (tmp_path / "videomme" / "test.json").write_text(json.dumps([question]))
    run(BenchmarkParams(**PARAMS), "videomme_subtitles", tmp_path, tmp_path / "out", tmp_path / "metrics.json")
    (asked,) = read_samples(tmp_path / "out" / "samples.parquet")
    assert asked.problem == "This video's subtitles are listed below:\nSeen.\nWho?"


def test_a_sample_has_each_kinds_share_and_says_of_how_many_and_the_whole_benchmark_forgets_it(tmp_path: Path) -> None:
    encode(tmp_path / "clip.mp4", frames=30, **H264)
    kinds = ["direction"] * 6 + ["colour"] * 3
    records = [record(number, "clip.mp4") | {"original_question_type": kind} for number, kind in enumerate(kinds)]
    (tmp_path / "benchmark.json").write_text(json.dumps(records))
    out, places = tmp_path / "out", (tmp_path, tmp_path / "out", tmp_path / "metrics.json")
    run(BenchmarkParams(**PARAMS), "shapes", *places, limit=3, seed=1)
    assert sorted(sample.category for sample in read_samples(out / "samples.parquet")) == [
        "colour",
        "direction",
        "direction",
    ]
    assert read_json(out / "drawn.json") == {"questions": 9, "drawn": 3, "seed": 1}
    with pytest.raises(UserError, match="--limit is 0; it must be at least 1"):
        run(BenchmarkParams(**PARAMS), "shapes", *places, limit=0)
    run(BenchmarkParams(**PARAMS), "shapes", *places)
    assert len(read_samples(out / "samples.parquet")) == 9
    assert not (out / "drawn.json").exists()


def test_questions_that_are_scored_together_are_drawn_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encode(tmp_path / "clip.mp4", frames=30, **H264)
    records = [record(number, "clip.mp4") for number in range(40)]
    (tmp_path / "benchmark.json").write_text(json.dumps(records))
    pairs = replace(get_benchmark("shapes"), together=lambda sample_id: str(int(sample_id.rpartition("-")[2]) // 2))
    monkeypatch.setattr("stages.benchmark.get_benchmark", lambda name: pairs)
    run(BenchmarkParams(**PARAMS), "shapes", tmp_path, tmp_path / "out", tmp_path / "metrics.json", limit=6)
    numbers = [
        int(sample.sample_id.rpartition("-")[2]) for sample in read_samples(tmp_path / "out" / "samples.parquet")
    ]
    assert [number // 2 for number in numbers[::2]] == [number // 2 for number in numbers[1::2]]
    assert len(numbers) == 6


def test_the_embedded_benchmark_is_not_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="shapes has no dataset on the hub; name the folder with its files"):
        run(BenchmarkParams(**PARAMS), "shapes", Path("hub"), tmp_path / "out", tmp_path / "metrics.json")


def test_an_unknown_benchmark_is_named(root: Path) -> None:
    with pytest.raises(UserError, match="unknown benchmark 'shape'; did you mean 'shapes'"):
        run(BenchmarkParams(**PARAMS), "shape", root, root / "out", root / "metrics.json")

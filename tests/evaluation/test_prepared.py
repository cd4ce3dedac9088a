"""Evaluation by one command, which prepares the benchmark first."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stages.benchmark import BenchmarkParams
from stages.benchmark import run as prepare
from stages.evaluate import Candidate, run
from stages.evaluation.prepared import Wanted
from stages.run.errors import UserError
from stages.run.files import read_json
from tests import warm
from tests.test_evaluate import PARAMS
from tests.video.clips import H264, encode
from tests.video.samples import PARAMS as FRAMES

SECONDS = 300


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with the parameters, and `data/video_holmes` with nine questions."""
    root = tmp_path / "data" / "video_holmes"
    (root / "videos_cropped").mkdir(parents=True)
    encode(root / "videos_cropped" / "a.mp4", frames=30, **H264)
    question = {"video ID": "a", "Question": "Who?", "Options": {"A": "she", "B": "he"}, "Answer": "A"}
    kinds = ["SR"] * 6 + ["TCI"] * 3
    rows = [question | {"Question ID": number, "Question Type": kind} for number, kind in enumerate(kinds)]
    (root / "test_Video-Holmes.json").write_text(json.dumps(rows))
    frames = {name: value for name, value in FRAMES.items() if name != "max_frames"}
    settings = {"benchmark": {"defaults": frames}, "evaluate": {"defaults": PARAMS.model_dump(mode="json")}}
    (tmp_path / "params.yaml").write_text(json.dumps(settings))
    return tmp_path


def evaluate(place: Path, *flags: str) -> tuple[int, str]:
    """The exit status of the command, and what it says."""
    started = warm.start("stages.evaluate", flags, place)
    return started.wait(SECONDS), started.said


@pytest.mark.integration
def test_one_command_reads_a_sample_of_the_benchmark_and_asks_it(place: Path, qwen2_5: Path) -> None:
    flags = ("--benchmark", "video_holmes", "--model", str(qwen2_5), "--frames", "4", "--limit", "3")
    status, said = evaluate(place, *flags)
    assert status == 0, said
    assert "of a sample of 3 of 9 questions, of each kind its share (seed 0); the intervals are" in said
    metrics = read_json(place / "evaluations" / "qwen2_5_vl-video_holmes-4-limit3-seed0.json")
    assert (metrics["n"], metrics["n_missing"]) == (3, 0)
    assert metrics["sample"] == {"questions": 9, "drawn": 3, "seed": 0}
    assert metrics["shown"].startswith("4 frames")


@pytest.mark.integration
def test_what_the_benchmark_stage_refuses_ends_in_its_line(place: Path, qwen2_5: Path) -> None:
    status, said = evaluate(place, "--benchmark", "video_holmes", "--model", str(qwen2_5), "--root", "nowhere")
    assert status == 1
    *_, why, last = said.splitlines()
    assert why.startswith("benchmark: nowhere: neither a folder nor the name of a dataset")
    assert last == "evaluate: the questions of video_holmes are not ready; the line above says why"


@pytest.mark.integration
def test_a_model_and_a_benchmark_are_needed_and_the_list_and_the_check_need_neither(place: Path) -> None:
    assert "--model and --benchmark are needed; --list prints" in evaluate(place, "--benchmark", "mmvu")[1]
    assert "vsi_bench: 5,130 questions" in evaluate(place, "--list")[1]
    assert "recorded scores of the official rules" in evaluate(place, "--selfcheck")[1]


def test_a_model_that_cannot_be_asked_ends_the_run_before_the_benchmark_is_read(tmp_path: Path) -> None:
    wanted = Wanted("video_holmes", root=Path("nowhere"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty: no readable config of a model"):
        run(PARAMS, Candidate(str(tmp_path / "empty")), wanted)
    with pytest.raises(UserError, match=r"no server answers at http://127.0.0.1:9/v1"):
        run(PARAMS, Candidate("served", server="http://127.0.0.1:9/v1"), wanted)


@pytest.mark.parametrize("asked", [{"root": Path("media")}, {"limit": 8}, {"limit": 0}, {"seed": 1}, {"seed": 0}])
def test_what_a_prepared_folder_cannot_follow_is_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"--{next(iter(asked))} cannot change prepared, which is prepared already"):
        run(PARAMS, Candidate("model"), Wanted("mmvu", Path("prepared"), **asked))


def test_a_prepared_folder_is_asked_with_its_own_number_of_frames_alone(
    place: Path, qwen2_5: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    data = Path("data", "video_holmes-4")
    frames = BenchmarkParams(**{name: value for name, value in FRAMES.items() if name != "max_frames"})
    prepare(frames, "video_holmes", Path("data", "video_holmes"), data, Path("metrics.json"), frames=4)
    asked = Wanted("video_holmes", data, frames=4)
    run(PARAMS, Candidate(str(qwen2_5)), asked)
    assert Path("evaluations", "qwen2_5_vl-video_holmes-4.json").exists()
    for other in (3, 8, 0):
        with pytest.raises(UserError, match=f"--frames is {other}, but the clips in {data} .* with at most 4 frames"):
            run(PARAMS, Candidate(str(qwen2_5)), replace(asked, frames=other))
    (data / "frames.json").unlink()  # as in a folder of an earlier version
    with pytest.raises(UserError, match=f"the clips in {data} were prepared with an unknown number of frames"):
        run(PARAMS, Candidate(str(qwen2_5)), asked)


def test_the_folder_says_what_it_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Wanted("mmvu", frames=16, limit=200, seed=3).folder == "mmvu-16-limit200-seed3"
    assert Wanted("mmvu", frames=16, seed=3).folder == "mmvu-16"
    assert Wanted("mmvu").source == Path("hub")
    (tmp_path / "data" / "mmvu").mkdir(parents=True)
    assert Wanted("mmvu").source == Path("data/mmvu")
    assert Wanted("mmvu", root=Path("elsewhere")).source == Path("elsewhere")

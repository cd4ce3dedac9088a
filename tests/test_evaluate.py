"""Evaluation end to end on a tiny random model, stored frames and real answers in a journal; and against a real local server."""

import gc
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch

from stages.data.sample import Reject, Sample, read_samples, write_rejects, write_samples
from stages.data.shards import ShardStore
from stages.evaluate import EvaluateParams, plan, run
from stages.evaluation import engines
from stages.evaluation.engines import ServerParams, Showing
from stages.evaluation.predictions import PREDICTION_SCHEMA, PredictionRow, read_predictions
from stages.model.inputs import Prompt
from stages.run.errors import UserError
from stages.run.files import read_json, write_table
from stages.video.frame_rows import row_from_frames
from stages.video.frame_store import FRAME_KEYS_SCHEMA, SCHEMA, Frames
from tests.conftest import ROOT
from tests.model.tiny_models import write_qwen2_5

PARAMS = EvaluateParams(max_new_tokens=6, batch_tokens=400, threads=1)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_qwen2_5(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a benchmark of six clips and one image, whose last clip has no frames."""
    monkeypatch.chdir(tmp_path)
    samples = [_sample(f"v{index}", "direction", "Which way does it move? " * (1 + index % 3)) for index in range(6)]
    samples.append(_sample("i0", "colour", "What colour is it?", "image"))
    write_samples(tmp_path / "samples.parquet", samples)
    write_rejects(tmp_path / "quarantine.parquet", [])
    rng = np.random.default_rng(0)
    rows = [
        row_from_frames(sample.sample_id, _frames(rng, 1 if sample.data_type == "image" else 4), None)
        for sample in samples
    ]
    ShardStore(tmp_path / "frames", SCHEMA).append(rows)
    table = [
        {"sample_id": sample.sample_id, "frame_key": sample.sample_id} for sample in samples if sample.sample_id != "v5"
    ]
    write_table(tmp_path / "frames.parquet", table, FRAME_KEYS_SCHEMA)
    return tmp_path


def test_every_question_with_frames_is_answered_in_every_order_and_images_once(model: Path, place: Path) -> None:
    rows = _evaluate(PARAMS, model, place)
    assert [(row["sample_id"], row["order"]) for row in rows] == [
        *((f"v{index}", order) for index in range(5) for order in ("ordered", "shuffled")),
        ("i0", "ordered"),
    ]
    assert {(row["n_frames"], row["width"], row["height"]) for row in rows} == {(4, 48, 32), (1, 48, 32)}
    assert {row["status"] for row in rows} == {"truncated"}
    assert {tuple(row["frame_order"]) for row in rows if row["order"] == "ordered"} == {(0, 1, 2, 3), (0,)}
    assert all(
        sorted(row["frame_order"]) == [0, 1, 2, 3] != row["frame_order"] for row in rows if row["order"] == "shuffled"
    )
    assert all(row["tokens"] == 6 and row["text"] for row in rows)
    metrics = read_json(place / "metrics.json")
    assert (metrics["n"], metrics["n_missing"], metrics["truncated"]) == (6, 1, 1)
    assert {
        "accuracy",
        "temporal",
        "static",
        "temporal_shuffled",
        "temporal_shuffled_gap",
        "well_formed",
    } <= metrics.keys()


def test_quarantined_questions_count_as_missing_and_are_named(
    model: Path, place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_rejects(
        place / "quarantine.parquet",
        [Reject(sample_id=f"q{index}", stage="benchmark", reason="corrupt") for index in range(12)],
    )
    _evaluate(PARAMS, model, place)
    metrics = read_json(place / "metrics.json")
    assert (metrics["n"], metrics["n_missing"]) == (6, 13)
    assert "counted as missing: q0 (corrupt), q1 (corrupt)" in caplog.messages[-1]
    assert caplog.messages[-1].endswith("q9 (corrupt) and 2 more")


def test_alone_it_needs_a_model_a_benchmark_and_its_folder_and_writes_beside_the_graph(
    model: Path, place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    run(PARAMS, str(model), "shapes", place)
    assert read_json(place / "evaluations" / f"tiny-{place.name}.json")["n"] == 6
    with pytest.raises(UserError, match="holds questions of shapes, not of mmvu"):
        run(PARAMS, str(model), "mmvu", place)
    write_samples(
        place / "samples.parquet",
        [sample.model_copy(update={"source": "mmvu"}) for sample in read_samples(place / "samples.parquet")],
    )
    run(PARAMS, str(model), "mmvu", place)
    assert "Video-R1-7B at 16 frames 64.2, Video-R1-7B at 32 frames 63.8" in caplog.messages[-1]
    with pytest.raises(UserError, match=r"no prepared benchmark; run `python -m stages.benchmark --name mvbench"):
        run(PARAMS, str(model), "mvbench", place / "nowhere")


@pytest.mark.slow
def test_two_runs_write_the_same_bytes(model: Path, place: Path) -> None:
    _evaluate(PARAMS, model, place, "first")
    for work in (place / ".work").rglob("*.jsonl"):
        work.unlink()
    _evaluate(PARAMS, model, place, "second")
    for name in ("parquet", "json"):
        assert (place / f"first.{name}").read_bytes() == (place / f"second.{name}").read_bytes()


def test_a_run_cut_off_between_batches_goes_on_and_ends_with_the_same_files(
    model: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _evaluate(PARAMS, model, place, "whole")
    (journal,) = (place / ".work").rglob("outputs.jsonl")
    whole = journal.read_bytes()
    lines = whole.splitlines(keepends=True)
    assert len(lines) == 11
    journal.write_bytes(b"".join(lines[:8]) + lines[8][:20])  # what a kill leaves: whole lines and a torn one
    asked = []
    real = engines.generate
    monkeypatch.setattr(engines, "generate", lambda *args: asked.append(len(args[2])) or real(*args))
    _evaluate(PARAMS, model, place, "resumed")
    assert asked == [5]  # the six in order are not asked again, the five shuffled ones in one batch
    for name in ("parquet", "json"):
        assert (place / f"whole.{name}").read_bytes() == (place / f"resumed.{name}").read_bytes()


@pytest.mark.slow
def test_an_evaluation_killed_between_answers_ends_with_the_files_of_an_uninterrupted_one(
    model: Path, place: Path
) -> None:
    settings = {"defaults": PARAMS.model_dump(mode="json") | {"max_new_tokens": 64, "batch_tokens": 1}}
    (place / "params.yaml").write_text(json.dumps({"evaluate": settings}))
    assert _as_a_process(model, place, "whole").wait() == 0
    cut = _as_a_process(model, place, "cut")
    while not _journaled(place, "cut"):
        assert cut.poll() is None
        time.sleep(0.005)
    cut.kill()
    assert cut.wait() == -signal.SIGKILL
    assert 1 <= _journaled(place, "cut") < 11
    assert not (place / "cut.parquet").exists()
    assert _as_a_process(model, place, "cut").wait() == 0
    assert _journaled(place, "cut") == 11
    for suffix in ("parquet", "json"):
        assert (place / f"whole.{suffix}").read_bytes() == (place / f"cut.{suffix}").read_bytes()


def test_other_parameters_do_not_find_the_old_answers(model: Path, place: Path) -> None:
    _evaluate(PARAMS, model, place)
    rows = _evaluate(PARAMS.model_copy(update={"max_new_tokens": 3}), model, place)
    assert {row["tokens"] for row in rows} == {3}


def test_one_more_order_asks_nothing_again_and_changes_no_answer(
    model: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _evaluate(PARAMS, model, place)
    asked = []
    real = engines.generate
    monkeypatch.setattr(engines, "generate", lambda *args: asked.append(len(args[2])) or real(*args))
    after = _evaluate(
        PARAMS.model_copy(update={"orders": ("ordered", "shuffled", "reversed"), "profile": "video-r1"}), model, place
    )
    assert sum(asked) == 5  # the videos, reversed
    assert [row for row in after if row["order"] != "reversed"] == before
    metrics = read_json(place / "metrics.json")
    assert {"accuracy_shuffled_gap", "accuracy_reversed_gap"} <= metrics.keys()


def test_the_budget_changes_batches_but_not_answers(model: Path, place: Path) -> None:
    in_batches = _evaluate(PARAMS, model, place)
    one_by_one = _evaluate(PARAMS.model_copy(update={"batch_tokens": 1}), model, place)
    assert [row["text"] for row in in_batches] == [row["text"] for row in one_by_one]


def test_sampling_draws_the_same_answers_for_the_same_seed_only(model: Path, place: Path) -> None:
    sampled = PARAMS.model_copy(update={"temperature": 1.0})
    first = [row["text"] for row in _evaluate(sampled, model, place)]
    assert first == [row["text"] for row in _evaluate(sampled.model_copy(update={"batch_tokens": 1}), model, place)]
    assert first != [row["text"] for row in _evaluate(sampled.model_copy(update={"seed": 1}), model, place)]


def test_batches_hold_like_lengths_within_the_budget(model: Path, place: Path) -> None:
    sizes = {"a": 30, "b": 10, "c": 11, "d": 29}
    shown = [
        engines.Shown(Showing(_sample(name, "", "?"), "ordered"), _prompt(length), [0], 1, 8, 8)
        for name, length in sizes.items()
    ]
    formed = [[each.showing.sample.sample_id for each in batch] for batch in engines.batches(shown, 10, 80)]
    assert formed == [["a", "d"], ["c", "b"]]
    assert [len(batch) for batch in engines.batches(shown, 10, 1)] == [1, 1, 1, 1]


def test_an_image_has_one_order() -> None:
    samples = [_sample("v", "", "?"), _sample("i", "", "?", "image"), _sample("gone", "", "?")]
    assert [showing.key for showing in plan(samples, ["v", "i"], ("ordered", "reversed"))] == [
        "ordered/v",
        "reversed/v",
        "ordered/i",
    ]


def test_no_frames_at_all_is_one_clear_line(model: Path, place: Path) -> None:
    write_table(place / "frames.parquet", [], FRAME_KEYS_SCHEMA)
    with pytest.raises(UserError, match="none of the 7 questions has frames"):
        _evaluate(PARAMS, model, place)


def test_parameters_that_cannot_work_are_refused() -> None:
    with pytest.raises(ValueError, match="orders must hold 'ordered'"):
        EvaluateParams(orders=("shuffled",))
    with pytest.raises(ValueError, match="needs a 'server'"):
        EvaluateParams(engine="openai")


def test_the_log_holds_one_table(model: Path, place: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        _evaluate(PARAMS, model, place)
    title, header, *rows = caplog.messages[-1].splitlines()
    assert title == (
        "tiny on shapes, official profile: 6 scored, 1 missing, 0 only a judge could score; "
        "0.0% without an answer, 100.0% truncated; 1–4 frames of 48×32"
    )
    assert header.split() == ["n", "ordered", "shuffled", "gap"]
    assert [row.split()[:2] for row in rows[:3]] == [["all", "6"], ["temporal", "5"], ["static", "1"]]
    assert rows[2].split()[-2:] == ["–", "–"]  # the only static question is an image, which has one order


def test_another_models_predictions_are_compared_question_by_question(
    model: Path, place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = _evaluate(PARAMS, model, place, "first")
    right = [
        row | {"official": 1.0} for row in first if row["sample_id"] != "v0"
    ]  # another model, right wherever it was asked
    write_table(place / "right.parquet", right, PREDICTION_SCHEMA)
    with caplog.at_level(logging.INFO):
        run(PARAMS, str(model), "shapes", place, against=place / "right.parquet")
    assert (
        f"against {place / 'right.parquet'}: -100.0 [-100.0, -19.6] points on 5 common questions" in caplog.messages[-1]
    )
    assert caplog.messages[-1].endswith("McNemar's p = 0.062")  # five of five lost: 2 / 2⁵


@pytest.mark.parametrize(
    ("file", "said"), [("nowhere.parquet", "cannot be read"), ("frames.parquet", "but not of predictions")]
)
def test_what_holds_no_predictions_cannot_be_compared_with(model: Path, place: Path, file: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        run(PARAMS, str(model), "shapes", place, against=place / file)


def test_a_served_model_gets_the_frames_in_each_order_and_only_failures_are_asked_again(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The server refuses the first shuffled request it sees; the next run asks that one alone."""
    with _Server() as server:
        waiting = ServerParams(base_url="http://127.0.0.1:9/v1", retries=0, concurrency=1)
        params = PARAMS.model_copy(update={"server": waiting, "max_failed": 0.1}).asking("served", server.url)
        with caplog.at_level(logging.WARNING):
            rows = _evaluate(params, Path("served"), place)
        assert caplog.messages == [
            "1 requests failed, most often with: HTTP 400: busy; run the same command again to ask them again; counted as missing"
        ]
        assert [row["status"] for row in rows].count("error") == 1
        assert {row["text"] for row in rows if row["status"] == "ok"} == {"<think>t</think>\n<answer>B</answer>"}
        assert read_json(place / "metrics.json")["temporal"] == 1
        asked = len(server.requests)
        frames = [_pictures(request) for request in server.requests[:2]]
        assert frames[0] != frames[1]
        assert sorted(frames[0]) == sorted(frames[1])
        assert server.requests[0]["model"] == "served"
        rows = _evaluate(params, Path("served"), place)
        assert len(server.requests) == asked + 1
        assert {row["status"] for row in rows} == {"ok"}
        faster = waiting.model_copy(update={"concurrency": 4, "timeout_s": 9.0})
        _evaluate(PARAMS.model_copy(update={"server": faster}).asking("served", server.url), Path("served"), place)
        assert len(server.requests) == asked + 1
        _evaluate(params.model_copy(update={"server": waiting}).asking("another", server.url), Path("another"), place)
        assert len(server.requests) == 2 * asked + 1  # another model's answers are its own


def test_too_many_failures_stop_the_run_and_what_was_answered_is_not_asked_again(place: Path) -> None:
    with _Server() as server:
        params = PARAMS.model_copy(update={"server": ServerParams(base_url=server.url, concurrency=1)}).asking(
            "served", server.url
        )
        with pytest.raises(
            UserError, match=r"1 requests failed, .* 400: busy; .* more than evaluate.max_failed = 0.02 of 11"
        ):
            _evaluate(params, Path("served"), place)
        assert not (place / "predictions.parquet").exists()
        asked = len(server.requests)
        _evaluate(params, Path("served"), place)
        assert len(server.requests) < asked + 11


def test_a_server_that_is_not_there_is_one_clear_line_whatever_is_in_flight(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(UserError, match=r"no server answers at http://127.0.0.1:9/v1"):
        _evaluate(PARAMS.asking("served", "http://127.0.0.1:9/v1"), Path("served"), place)
    gc.collect()
    assert not [message for message in caplog.messages if "never retrieved" in message]


class _Server:
    """A real HTTP server on loopback that always answers B, but fails its second request."""

    def __enter__(self) -> "_Server":
        requests: list[dict[str, Any]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                requests.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                message = {"content": "<think>t</think>\n<answer>B</answer>"}
                body = json.dumps(
                    {"choices": [{"message": message, "finish_reason": "stop"}], "usage": {"completion_tokens": 9}}
                ).encode()
                fails = len(requests) == 2
                body = b"busy" if fails else body
                self.send_response(400 if fails else 200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.requests = requests
        self._http = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"
        Thread(target=self._http.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()


def _evaluate(params: EvaluateParams, model: Path, place: Path, name: str = "") -> list[PredictionRow]:
    predictions, metrics = place / f"{name or 'predictions'}.parquet", place / f"{name or 'metrics'}.json"
    run(params, str(model), "shapes", place, "tiny", None, predictions, metrics)
    return read_predictions(predictions)


def _as_a_process(model: Path, place: Path, name: str) -> subprocess.Popen[bytes]:
    """The command line in a process of its own; its predictions are `<name>.parquet`."""
    flags = {"model": model, "benchmark": "shapes", "data": place, "name": name}
    flags |= {"predictions": place / f"{name}.parquet", "metrics": place / f"{name}.json"}
    words = [word for flag, value in flags.items() for word in (f"--{flag}", str(value))]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-m", "stages.evaluate", *words], cwd=place, env=environment)


def _journaled(place: Path, name: str) -> int:
    """How many answers the run's journal holds."""
    return sum(
        len(path.read_bytes().splitlines())
        for path in (place / ".work" / "evaluate").glob(f"{name}-*/*/*/outputs.jsonl")
    )


def _pictures(request: dict[str, Any]) -> Sequence[str]:
    return [part["image_url"]["url"] for part in request["messages"][0]["content"] if part["type"] == "image_url"]


def _frames(rng: np.random.Generator, n: int) -> Frames:
    pixels = rng.integers(0, 255, (n, 32, 48, 3), dtype=np.uint8)
    return Frames(pixels, np.arange(n), np.arange(n) / 2, 2.0 if n > 1 else 0.0)


def _prompt(length: int) -> Prompt:
    zeros = torch.zeros(length, dtype=torch.long)
    return Prompt("q", zeros, zeros.expand(3, -1), length, torch.zeros(0, 1), torch.tensor([[1, 2, 2]]), "video")


def _sample(sample_id: str, category: str, problem: str, data_type: str = "video") -> Sample:
    fields = {
        "sample_id": sample_id,
        "source": "shapes",
        "data_type": data_type,
        "problem_type": "multiple choice",
        "problem": problem,
    }
    fields |= {
        "options": ("A. left", "B. right"),
        "answer": "B",
        "media_path": "m",
        "media_sha256": "0",
        "category": category,
    }
    return Sample.model_validate(fields | {"split": "test"})

"""The annotate stage as a process, with real servers.

It is killed, and asks the embedded teacher and `transformers serve`.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from stages.data.annotations import ANNOTATION_SCHEMA
from stages.run.errors import UserError
from tests import warm
from tests.annotate.case import OUTPUTS, annotate, content, parameters, write_inputs
from tests.fault_server import ODD_ANSWERS, PASSING, Fault, fault_server
from tests.ports import free_port
from tests.tiny_llava import ANSWER, write_tiny_llava
from tests.warm import Started

FLAGS = ["--samples", "samples.parquet", "--frame-store", "frames", "--frame-keys", "frames.parquet"]
FLAGS += ["--responses", "responses", "--annotations", "annotations.parquet", "--metrics", "annotate.json"]


def start(url: str) -> Started:
    section = {"base_url": url, "model": "teacher", "prompt": "plain", "concurrency": 8, "timeout_s": 1.0}
    Path("params.yaml").write_text(json.dumps({"annotate": section}))
    return warm.start("stages.annotate", FLAGS, Path.cwd())


@pytest.mark.integration
def test_kill_9_at_any_moment_loses_nothing_and_asks_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_inputs(120)
    with fault_server(latency_s=0.02) as server:
        for share in (20, 70):
            process = start(server.url)
            while len(server.answered) < share:
                time.sleep(0.005)
            process.kill()
        start(server.url).finish()
        counts = {
            text: sum(call.text == text for call in server.calls) for text in {call.text for call in server.calls}
        }
    assert len(counts) == 120
    # A kill can lose what was in flight or about to be written: at most 10 requests each time are asked again.
    assert sum(counts.values()) <= 120 + 2 * 10
    assert max(counts.values()) <= 3
    killed = content(*OUTPUTS)
    (tmp_path / "clean").mkdir()
    monkeypatch.chdir(tmp_path / "clean")
    write_inputs(120)
    with fault_server() as server:
        start(server.url).finish()
    assert content(*OUTPUTS) == killed


@pytest.mark.integration
def test_kill_9_among_all_faults_loses_nothing_and_pays_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every second question fails at first, and every fourth has an answer that is hard to read."""
    count = 4 * len(PASSING)

    def fault(text: str, attempt: int) -> Fault:
        number = int(text.split()[1].rstrip("?"))
        if number % 2:
            return PASSING[number // 2 % len(PASSING)] if attempt == 1 else "ok"
        return ODD_ANSWERS[number // 4 % len(ODD_ANSWERS)] if number % 4 else "ok"

    def is_answer(text: str, attempt: int) -> bool:
        return not (int(text.split()[1].rstrip("?")) % 2 and attempt == 1)

    write_inputs(count)
    with fault_server(fault, latency_s=0.02) as server:
        for share in (15, 30):
            process = start(server.url)
            while len(server.answered) < share:
                time.sleep(0.005)
            process.kill()
        start(server.url).finish()
        paid = sum(call.answered and is_answer(call.text, call.attempt) for call in server.calls)
        # At most 10 answers each time were in flight, or about to be written, when the kill came.
        assert count <= paid <= count + 2 * 10
    killed = content(*OUTPUTS)
    (tmp_path / "clean").mkdir()
    monkeypatch.chdir(tmp_path / "clean")
    write_inputs(count)
    with fault_server(fault) as server:
        start(server.url).finish()
    assert content(*OUTPUTS) == killed


@pytest.mark.integration
def test_the_embedded_teacher_answers_the_whole_set_twice_alike() -> None:
    write_inputs(20)
    params = parameters("embedded", model="embedded-teacher", careless=0.5)
    rows = annotate(params)
    assert [row["status"] for row in rows] == ["ok"] * 20
    assert set(rows[0]) == set(ANNOTATION_SCHEMA.names)
    assert annotate(params) == rows


@contextmanager
def transformers_serve(model: Path) -> Iterator[tuple[str, Callable[[], int]]]:
    """A real server of transformers with `model`.

    Its address, and how many chat requests stand in its own log.
    """
    port = free_port()
    log = model.with_suffix(".log")
    command = [
        Path(sys.executable).parent / "transformers",
        "serve",
        model,
        "--device",
        "cpu",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    with open(log, "wb") as output:
        server = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=os.environ | {"HF_HUB_OFFLINE": "1"}
        )
        try:
            while "Application startup complete" not in log.read_text():
                assert server.poll() is None, log.read_text()
                time.sleep(0.2)
            yield f"http://127.0.0.1:{port}/v1", lambda: log.read_text().count("POST /v1/chat/completions")
        finally:
            server.terminate()
            server.wait()


@pytest.mark.integration
def test_transformers_serve_answers_from_image_parts_and_is_asked_once() -> None:
    write_inputs(6)
    model = write_tiny_llava(Path("tiny-llava").absolute())
    with transformers_serve(model) as (url, requests_in_its_log):
        params = parameters(url, model=str(model), timeout_s=60.0, temperature=0.5)
        rows = annotate(params)
        assert [(row["status"], row["text"]) for row in rows] == [("ok", ANSWER)] * 6
        text = "<|im_start|>user\nquestion 0?\nA. left\nB. right<|im_end|>\n<|im_start|>assistant\n"
        tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
        assert rows[0]["prompt_tokens"] == len(tokenizer.encode(text)) + 4 * 4  # each of the four frames is four tokens
        assert rows[0]["completion_tokens"] == len(tokenizer.encode(f"{ANSWER}<|im_end|>"))
        assert requests_in_its_log() == 6
        assert annotate(params) == rows
        assert requests_in_its_log() == 6
        assert [row["status"] for row in annotate(parameters(url, model=str(model), timeout_s=60.0, max_tokens=5))] == [
            "truncated"
        ] * 6
        assert requests_in_its_log() == 12
        with pytest.raises(UserError, match=r"most often with 'HTTP 400: .*Server is pinned to"):
            annotate(parameters(url, model="another", timeout_s=60.0))

"""Evaluation of a served model, against a real local server."""

import gc
import json
import logging
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from stages.asking.server_engine import ServerParams
from stages.chat.parameters import Payload
from stages.run.errors import UserError
from stages.run.files import read_json
from tests.evaluation.prepared import PARAMS, evaluate, prepare


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a prepared benchmark, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    prepare(tmp_path)
    return tmp_path


def test_a_served_model_gets_the_frames_in_each_order_and_only_failures_are_asked_again(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The server refuses one request; the next run asks that one alone."""
    with Server() as server:
        waiting = ServerParams(base_url="http://127.0.0.1:9/v1", retries=0, concurrency=1)
        params = PARAMS.model_copy(update={"server": waiting, "max_failed": 0.1}).asking("served", server.url)
        with caplog.at_level(logging.WARNING):
            rows = evaluate(params, Path("served"), place)
        assert caplog.messages == [
            "1 requests failed, most often with: HTTP 400: busy; run the same command again to ask them again; "
            "counted as missing"
        ]
        assert [row["status"] for row in rows].count("error") == 1
        assert {row["text"] for row in rows if row["status"] == "ok"} == {"<think>t</think>\n<answer>B</answer>"}
        assert read_json(place / "metrics.json")["temporal"] == 1
        asked = len(server.requests)
        frames = [_pictures(request) for request in server.requests[:2]]
        assert frames[0] != frames[1]
        assert sorted(frames[0]) == sorted(frames[1])
        assert server.requests[0]["model"] == "served"
        rows = evaluate(params, Path("served"), place)
        assert len(server.requests) == asked + 1
        assert {row["status"] for row in rows} == {"ok"}
        faster = waiting.model_copy(update={"concurrency": 4, "timeout_s": 9.0})
        evaluate(PARAMS.model_copy(update={"server": faster}).asking("served", server.url), Path("served"), place)
        assert len(server.requests) == asked + 1
        evaluate(params.model_copy(update={"server": waiting}).asking("another", server.url), Path("another"), place)
        assert len(server.requests) == 2 * asked + 1  # another model's answers are its own


@pytest.mark.parametrize("payload", ["images", "video"])
def test_a_served_model_gets_a_blind_question_as_text_alone(place: Path, payload: Payload) -> None:
    asked = ServerParams(base_url="http://127.0.0.1:9/v1", concurrency=1, payload=payload, frame_times="text")
    with Server() as server:
        params = PARAMS.model_copy(update={"server": asked, "orders": ("ordered", "blind"), "max_failed": 0.5})
        rows = evaluate(params.asking("served", server.url), Path("served"), place)
        contents = [request["messages"][0]["content"] for request in server.requests]
        assert len([content for content in contents if isinstance(content, str)]) == 6
        assert not [request for request in server.requests[1:2] if "media_io_kwargs" in request]
    assert {row["n_frames"] for row in rows if row["order"] == "blind"} == {0}


def test_too_many_failures_stop_the_run_and_what_was_answered_is_not_asked_again(place: Path) -> None:
    with Server() as server:
        params = PARAMS.model_copy(update={"server": ServerParams(base_url=server.url, concurrency=1)}).asking(
            "served", server.url
        )
        with pytest.raises(
            UserError, match=r"1 requests failed, .* 400: busy; .* more than evaluate.max_failed = 0.02 of 11"
        ):
            evaluate(params, Path("served"), place)
        assert not (place / "predictions.parquet").exists()
        asked = len(server.requests)
        evaluate(params, Path("served"), place)
        assert len(server.requests) < asked + 11


def test_a_prompt_that_is_too_long_for_the_server_is_not_to_be_asked_again(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    words = "The decoder prompt (length 9000) is longer than the maximum model length of 8192."  # vLLM's
    with Server(words=words) as server, caplog.at_level(logging.WARNING):
        waiting = ServerParams(base_url=server.url, retries=0, concurrency=1)
        params = PARAMS.model_copy(update={"server": waiting, "max_failed": 0.1})
        evaluate(params.asking("served", server.url), Path("served"), place)
    assert caplog.messages == [
        f"1 prompts are too long, for example: HTTP 400: {words}; ask about fewer or smaller frames, because the same "
        "prompt fails again; counted as missing"
    ]


def test_a_server_that_is_not_there_is_one_clear_line_whatever_is_in_flight(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(UserError, match=r"no server answers at http://127.0.0.1:9/v1"):
        evaluate(PARAMS.asking("served", "http://127.0.0.1:9/v1"), Path("served"), place)
    gc.collect()
    assert not [message for message in caplog.messages if "never retrieved" in message]


class Server:
    """A real HTTP server that answers B, but fails one request, by default the second."""

    def __init__(self, failing: int = 2, words: str = "busy") -> None:
        self._failing = failing
        self._words = words

    def __enter__(self) -> "Server":
        requests: list[dict[str, Any]] = []
        failing, words = self._failing, self._words.encode()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                requests.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                message = {"content": "<think>t</think>\n<answer>B</answer>"}
                body = json.dumps(
                    {"choices": [{"message": message, "finish_reason": "stop"}], "usage": {"completion_tokens": 9}}
                ).encode()
                fails = len(requests) == failing
                body = words if fails else body
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


def _pictures(request: dict[str, Any]) -> Sequence[str]:
    return [part["image_url"]["url"] for part in request["messages"][0]["content"] if part["type"] == "image_url"]

"""Which payload suits a server, and the frame rate of a video."""

import json
import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest

from stages.chat import payload
from stages.chat.payload import choose_payload
from stages.chat.request import frame_rate
from stages.run.errors import EndpointError
from tests.chat.asking import jpeg, params, request

VLLM = {"/version": {"version": "0.32.0"}}
SGLANG = {"/v1/models": {"data": [{"id": "m", "owned_by": "sglang"}]}}
OLD_VLLM = {"/v1/models": {"data": [{"id": "m", "owned_by": "vllm"}]}}


@contextmanager
def server(answers: Mapping[str, object]) -> Iterator[str]:
    """A server that knows these addresses; its base_url."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(answers.get(self.path, {})).encode()
            self.send_response(200 if self.path in answers else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}/v1"
        http.shutdown()


@pytest.mark.parametrize(
    ("answers", "chosen", "said"),
    [
        (VLLM, "video", "the server is vLLM 0.32.0, so each clip travels as a video"),
        (OLD_VLLM, "video", "the server is vLLM, so"),
        (SGLANG, "images", "the server is of sglang, so frames travel as images: a video model sees pictures"),
        ({}, "images", "the server is unknown"),
        ({"/version": [1], "/v1/models": {"data": []}}, "images", "the server is unknown"),
    ],
)
def test_auto_asks_the_server_what_it_is_and_says_what_it_chose(
    answers: Mapping[str, object], chosen: str, said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO), server(answers) as url:
        assert choose_payload(params(url), tmp_path / "servers.json") == chosen
    assert said in caplog.text


def test_a_choice_of_the_person_asks_nobody(tmp_path: Path) -> None:
    assert choose_payload(params("http://127.0.0.1:9/v1", payload="video"), tmp_path / "servers.json") == "video"


def test_a_server_that_is_away_is_remembered_and_an_unknown_one_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(payload, "SECONDS", 1.0)
    with server(VLLM) as url:
        choose_payload(params(url), tmp_path / "servers.json")
    assert choose_payload(params(url), tmp_path / "servers.json") == "video"
    with pytest.raises(EndpointError, match=r"no server answers at .* so payload: auto cannot choose"):
        choose_payload(params(url), tmp_path / "other.json")


@pytest.mark.parametrize("seconds", [0.5, 1 / 3, 0.1, 7 / 15, 1.0, 0.4, 22 / 15])
def test_the_rate_gives_back_the_seconds_between_frames_to_the_last_bit(seconds: float) -> None:
    times = (np.arange(16) * seconds).tolist()
    assert 2 / frame_rate(times) == 2 * (times[-1] - times[0]) / 15
    assert frame_rate(times[:1]) == 2.0


def test_a_video_carries_its_own_rate_and_all_its_frames_and_images_carry_none() -> None:
    pictures = (jpeg(1), jpeg(2), jpeg(3))
    video = request("q", pictures, "video", times=(0.0, 0.5, 1.0))
    assert video.body()["media_io_kwargs"] == {"video": {"fps": 2.0, "num_frames": -1}}
    images = request("q", pictures, "images", times=(0.0, 0.5, 1.0))
    assert "media_io_kwargs" not in images.body()
    assert images.key == request("q", pictures, "images").key  # answers from before times were known stay valid
    assert video.key != request("q", pictures, "video", times=(0.0, 1.0, 2.0)).key


def test_times_stand_before_their_images_as_text_on_request() -> None:
    asked = request("q", (jpeg(1), jpeg(2)), "images", times=(0.0, 0.54), frame_times="text")
    messages = asked.body()["messages"]
    assert isinstance(messages, list)
    parts = json.loads(json.dumps(messages))[0]["content"]
    assert [part.get("text", part["type"]) for part in parts] == ["[0.0 s]", "image_url", "[0.5 s]", "image_url", "q"]
    assert asked.key != request("q", (jpeg(1), jpeg(2)), "images").key

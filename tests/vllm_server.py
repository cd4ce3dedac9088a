"""A real vLLM server for tests: the program that VLLM_BIN names."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

VLLM = os.environ.get("VLLM_BIN", "")
STARTUP_SECONDS = 900
MEDIA_FLAG = "--trust-request-mm-kwargs"


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
    quiet = {"VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "PYTHONPATH": ""}
    with log.open("w") as file, subprocess.Popen(command, env=os.environ | quiet, stdout=file, stderr=file) as process:
        try:
            _wait_until_ready(process, f"http://127.0.0.1:{port}/health", log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()


def _wait_until_ready(process: "subprocess.Popen[bytes]", address: str, log: Path) -> None:
    deadline = time.monotonic() + STARTUP_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()[-3000:]
        try:
            with urlopen(address, timeout=5):
                return
        except (URLError, ConnectionError, TimeoutError):
            time.sleep(1)
    raise AssertionError(f"vLLM is not ready after {STARTUP_SECONDS} s: {log.read_text()[-3000:]}")

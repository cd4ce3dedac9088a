"""A real vLLM server for tests: the program that VLLM_BIN names."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.ports import free_port
from tests.started_server import started

VLLM = os.environ.get("VLLM_BIN", "")
STARTUP_SECONDS = 900
MEDIA_FLAG = "--trust-request-mm-kwargs"


@contextmanager
def served(model: Path, log: Path, *flags: str) -> Iterator[str]:
    """The address of a vLLM that serves the model as `tiny`."""
    port = free_port()
    command = [
        *(VLLM, "serve", str(model), "--host", "127.0.0.1", "--port", str(port), "--served-model-name", "tiny"),
        *("--max-model-len", "2048", "--max-num-seqs", "16", "--dtype", "float32"),
        *("--limit-mm-per-prompt", '{"image": 16, "video": 1}', *flags),
    ]
    quiet = {"VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "PYTHONPATH": ""}
    with started(command, os.environ | quiet, f"http://127.0.0.1:{port}/health", log, STARTUP_SECONDS):
        yield f"http://127.0.0.1:{port}/v1"

"""A server of rollouts in the manner of vLLM: adapters by name, several answers, token ids.

python -m tests.rollout_server MODEL PORT DIES_AT       a process of its own
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from stages.generation.generate import Completion, generate
from stages.generation.sampling import Sampling
from tests.conftest import ROOT
from tests.model_server import ModelServer, model_server

BASE = "tiny"


@dataclass
class RolloutServer(ModelServer):
    """A server that draws with our own decoder, from the base model or an adapter.

    `refusal` is its answer to every adapter, a status and words. `calls` holds the paths and models' names in order,
    `drawn` the requests for responses. The process kills itself when it has read request `dies_at` of these.
    """

    dies_at: int = 0
    refusal: tuple[int, str] | None = None
    adapters: dict[str, str] = field(default_factory=dict)  # name: folder
    calls: list[tuple[str, str]] = field(default_factory=list)
    drawn: list[dict[str, Any]] = field(default_factory=list)
    adapted: PeftModel | None = None

    def answer(self, path: str, body: dict[str, Any] | None) -> tuple[int, dict[str, Any]]:
        if body is None:
            cards = [{"id": BASE, "parent": None}, *({"id": name, "parent": BASE} for name in self.adapters)]
            return (200, {"data": cards}) if path == "/v1/models" else (404, {"detail": "Not Found"})
        name = body.get("lora_name") or body["model"]
        self.calls.append((path.removeprefix("/v1/"), name))
        match path:
            case "/v1/load_lora_adapter":
                return self.load(name, body["lora_path"])
            case "/v1/unload_lora_adapter":
                return (200, {}) if self.adapters.pop(name, None) else (404, error(f"{name} cannot be found"))
            case _ if name in (BASE, *self.adapters):
                return super().answer(path, body)
            case _:
                return 404, error(f"The model `{name}` does not exist.")

    def load(self, name: str, folder: str) -> tuple[int, dict[str, Any]]:
        """Take an adapter."""
        if self.refusal:
            return self.refusal[0], error(self.refusal[1])
        if not Path(folder, "adapter_config.json").is_file():
            return 404, error(f"Loading lora {name} failed: No adapter found for <path>")
        self.adapters[name] = folder
        if self.adapted is None:
            self.adapted = PeftModel.from_pretrained(self.model, folder, adapter_name=name)
        else:
            self.adapted.load_adapter(folder, adapter_name=name)
        self.adapted.eval()
        return 200, {}

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        """Drawn answers where token ids are asked for; else the same answer always, from the base model."""
        if not body.get("return_token_ids"):
            return self.from_base(body)
        self.drawn.append(body)
        if len(self.drawn) == self.dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        assert self.adapted is not None
        self.adapted.set_adapter(body["model"])
        prompt = self.prompt(body)
        sampling = Sampling(body["max_tokens"], body["temperature"], body["top_p"])
        model: Any = self.adapted.get_base_model()
        (drawn,) = generate(model, self.builder, [prompt], [body["n"]], sampling, [body["seed"]])
        ids = prompt.ids_P.tolist()
        usage = {"prompt_tokens": len(ids), "completion_tokens": sum(len(each.ids_C) for each in drawn)}
        return {"choices": [self.choice(each) for each in drawn], "prompt_token_ids": ids, "usage": usage}

    def from_base(self, body: dict[str, Any]) -> dict[str, Any]:
        """The answer of the base model."""
        if self.adapted is None:
            return super().complete(body)
        with self.adapted.disable_adapter():
            return super().complete(body)

    def choice(self, drawn: Completion) -> dict[str, Any]:
        """One of several answers."""
        ids = drawn.ids_C.tolist()
        return {
            "message": {"role": "assistant", "content": drawn.text},
            "finish_reason": "length" if drawn.truncated else "stop",
            "token_ids": ids,
            "logprobs": {"content": self.with_tokens(ids, drawn.logps_C.tolist())},
        }


def error(words: str) -> dict[str, Any]:
    """An error in vLLM's form."""
    return {"error": {"message": words}}


@contextmanager
def rollout_process(model: Path, port: int, dies_at: int = 0) -> Iterator["subprocess.Popen[bytes]"]:
    """The server as a process of its own."""
    command = [sys.executable, "-m", "tests.rollout_server", str(model), str(port), str(dies_at)]
    with subprocess.Popen(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}) as process:
        try:
            while process.poll() is None and not is_open(port):
                time.sleep(0.05)
            yield process
        finally:
            process.kill()


def is_open(port: int) -> bool:
    """Whether somebody listens on the port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


if __name__ == "__main__":
    torch.set_num_threads(1)
    with model_server(RolloutServer(Path(sys.argv[1]), port=int(sys.argv[2]), dies_at=int(sys.argv[3]))):
        threading.Event().wait()

"""A real HTTP server of the OpenAI chat protocol around a small model.

It reads what it is sent as vLLM does, or reads something else on request.
"""

import dataclasses
import json
import threading
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from stages.data.sample import DataType
from stages.handshake.scores import token_logps
from stages.model.inputs import Prompt, PromptBuilder
from stages.model.load import load_model
from stages.video.frame_store import Frames, frames_from_row
from tests.fault_server import Server
from tests.model.tiny_models import question

ANSWER = "<think>frame 1 top left, so it moves right, option B.</think>\n<answer>B</answer>"


def as_sent(frames: Frames) -> Frames:
    """The frames as the request holds them."""
    return frames


@dataclass
class ModelServer:
    """A server of the model in `folder`; `bodies` holds the requests in order.

    `misread` changes the frames of a clip before the model sees them. `system` stands before each question.
    `sends_logprobs` False leaves the log-probabilities out, `counts` False the numbers of tokens.
    """

    folder: Path
    misread: Callable[[Frames], Frames] = as_sent
    system: str = ""
    sends_logprobs: bool = True
    counts: bool = True
    noise: float = 0.0  # nats, added to each log-probability
    port: int = 0
    url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.builder, self.model = PromptBuilder(self.folder, "plain"), load_model(self.folder)
        self.ids = self.builder.tokenizer(f"{ANSWER}<|im_end|>", add_special_tokens=False)["input_ids"]

    def answer(self, path: str, body: dict[str, Any] | None) -> tuple[int, dict[str, Any]]:
        """Status and JSON object of an answer; `body` is None for a GET."""
        if body is None:
            return 404, {}
        self.bodies.append(body)
        return 200, self.complete(body)

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        """The chat completion of a request: always the same answer."""
        parts = parts_of(body)
        ids = self.ids[: body["max_tokens"]]
        choice: dict[str, Any] = {
            "message": {"role": "assistant", "content": self.builder.tokenizer.decode(ids, skip_special_tokens=True)},
            "finish_reason": "stop" if ids == self.ids else "length",
        }
        if body.get("logprobs") and self.sends_logprobs and len(parts) == 2:
            choice["logprobs"] = {"content": self.logprobs(body, ids)}
        usage = {"prompt_tokens": self.prompt_tokens(body), "completion_tokens": len(ids)}
        return {"choices": [choice], "usage": usage if self.counts else None}

    def prompt_tokens(self, body: dict[str, Any]) -> int:
        """Tokens of the prompt, with each placeholder written out."""
        text = "".join(self._written(part, body) for part in parts_of(body))
        turns = f"{self.system}<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"
        return len(self.builder.tokenizer(turns, add_special_tokens=False)["input_ids"])

    def _written(self, part: dict[str, Any], body: dict[str, Any]) -> str:
        if part["type"] == "text":
            return part["text"]
        count, height, width, _ = self._frames(part, body).frames_THWC.shape
        kind = "video" if part["type"] == "video_url" else "image"
        tokens = -(-count // 2) * (height // 16) * (width // 16)
        return f"<|vision_start|>{f'<|{kind}_pad|>' * tokens}<|vision_end|>"

    def _frames(self, part: dict[str, Any], body: dict[str, Any]) -> Frames:
        _, encoded = part[part["type"]]["url"].split("base64,")
        pictures = [b64decode(picture) for picture in encoded.split(",")]
        rate = body.get("media_io_kwargs", {}).get("video", {}).get("fps", 1.0)
        row: Any = {
            "pictures": pictures,
            "indices": list(range(len(pictures))),
            "pts": [index / rate for index in range(len(pictures))],
            "source_fps": rate,
            "keyframes": None,
        }
        frames = frames_from_row(row)
        return self.misread(frames) if part["type"] == "video_url" or len(parts_of(body)) > 2 else frames

    def prompt(self, body: dict[str, Any]) -> Prompt:
        """The prompt of a request with one medium."""
        medium, words = parts_of(body)
        kind: DataType = "video" if medium["type"] == "video_url" else "image"
        sample = question(data_type=kind, problem=words["text"], options=())
        return self.builder(sample, self._frames(medium, body))

    def logprobs(self, body: dict[str, Any], ids: list[int]) -> list[dict[str, Any]]:
        """The answer's tokens, with the model's log-probabilities."""
        logps = token_logps(self.model, self.builder, self.prompt(body), torch.tensor(ids)).tolist()
        return self.with_tokens(ids, logps)

    def with_tokens(self, ids: list[int], logps: list[float]) -> list[dict[str, Any]]:
        """Tokens with their log-probabilities, as the protocol has them."""
        tokens = [self.builder.tokenizer.decode([token]) for token in ids]
        return [{"token": token, "logprob": logp - self.noise} for token, logp in zip(tokens, logps, strict=True)]


S = TypeVar("S", bound=ModelServer)


def parts_of(body: dict[str, Any]) -> list[dict[str, Any]]:
    """The content parts of a request; text alone is one part."""
    content = body["messages"][0]["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


@contextmanager
def model_server(server: S) -> Iterator[S]:
    """Run the server on a free port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def do_GET(self) -> None:
            self.answer(None)

        def answer(self, body: dict[str, Any] | None) -> None:
            with server.lock:
                status, answer = server.answer(self.path, body)
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """The log is `bodies`."""

    http = Server(("127.0.0.1", server.port), Handler)
    server.url = f"http://127.0.0.1:{http.server_port}/v1"
    threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()


def every_second(frames: Frames) -> Frames:
    """Half of the frames, as a server that samples by itself shows them."""
    return Frames(frames.frames_THWC[::2], frames.indices_T[::2], frames.pts_T[::2], frames.source_fps)


def enlarged(frames: Frames) -> Frames:
    """Twice as high and wide, as a processor with a large min_pixels shows them."""
    pixels = frames.frames_THWC.repeat(2, axis=1).repeat(2, axis=2)
    return Frames(pixels, frames.indices_T, frames.pts_T, frames.source_fps)


def once_a_second(frames: Frames) -> Frames:
    """One frame per second, whatever the request says."""
    return dataclasses.replace(frames, pts_T=np.arange(len(frames.pts_T), dtype=np.float64))


def negative(frames: Frames) -> Frames:
    """Other pixels in the same number."""
    return dataclasses.replace(frames, frames_THWC=255 - frames.frames_THWC)

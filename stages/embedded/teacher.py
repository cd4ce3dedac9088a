"""The embedded teacher: a local HTTP server that speaks the OpenAI chat protocol and answers questions about the shapes world.

It stands in for the paper's 72B annotator (paper.md §4) and sees only what such a model would: the pictures of the request, in order,
and the text. It finds things by image processing and goes through the frames in its thought; a share `careless` of the questions whose
answer a backdrop could suggest gets a glance at one frame instead, and the guess that the backdrop suggests. Anything it does not
understand gets a well-formed guess. What it says is settled by the request and its own seed.
"""

import argparse
import base64
import binascii
import hashlib
import io
import json
import logging
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from pydantic import BaseModel, Field, ValidationError

from stages.embedded.language import Thought, glance, look, options_of
from stages.embedded.recognise import things, tint
from stages.embedded.scene import MOMENTS
from stages.run.files import sha256_file

log = logging.getLogger(__name__)

MODEL: Final = "embedded-teacher"
SLIP: Final = 0.02
"""Share of thoughts that go through the frames backwards."""
MAX_BODY: Final = 64 * 2**20
MAX_PIXELS: Final = 4096 * 4096

_TOKEN = re.compile(r"\s*(?:</?\w+>|\w+|[^\w\s])")
_NUMERIC = re.compile(r"how (?:many|much|far|long|often)|number|percent|numerical", re.IGNORECASE)


class RequestError(Exception):
    """A request that cannot be served: HTTP status and one line."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class TextPart(BaseModel):
    """A text part of a message."""

    type: Literal["text"]
    text: str


class ImageUrl(BaseModel):
    """Where a picture is; only data: URIs are served."""

    url: str


class ImagePart(BaseModel):
    """A picture part of a message."""

    type: Literal["image_url"]
    image_url: ImageUrl


class Message(BaseModel):
    """One turn."""

    role: str
    content: str | list[Annotated[TextPart | ImagePart, Field(discriminator="type")]]


class ChatRequest(BaseModel):
    """The part of an OpenAI chat request that this server reads."""

    model: str
    messages: list[Message] = Field(min_length=1)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    temperature: float = Field(default=1.0, ge=0, le=2)
    seed: int | None = None
    n: int = Field(default=1, ge=1, le=32)
    stream: Literal[False] = False

    @property
    def limit(self) -> int | None:
        """Most tokens of a completion; `max_completion_tokens` is the newer name."""
        return self.max_completion_tokens or self.max_tokens


@dataclass(frozen=True)
class Teacher:
    """How often it glances instead of looking, and the seed of its choices."""

    careless: float
    seed: int

    def complete(self, request: ChatRequest) -> dict[str, Any]:
        """The chat completion, as the protocol's JSON object."""
        question, pictures = _content(request.messages)
        content = hashlib.sha256(request.model_dump_json(include={"messages"}).encode()).hexdigest()
        choices = [self._choice(request, question, pictures, content, index) for index in range(request.n)]
        prompt_tokens = len(_TOKEN.findall(question)) + sum(-(-picture.size // (3 * 28 * 28)) for picture in pictures)
        completion_tokens = sum(len(_TOKEN.findall(choice["message"]["content"])) for choice in choices)
        return {
            "id": f"chatcmpl-{content[:24]}",
            "object": "chat.completion",
            "created": 0,  # no clock: equal requests get equal answers
            "model": request.model,
            "choices": choices,
            "usage": {
                "prompt_tokens": prompt_tokens,
                "completion_tokens": completion_tokens,
                "total_tokens": prompt_tokens + completion_tokens,
            },
        }

    def _choice(
        self, request: ChatRequest, question: str, pictures: list[NDArray[np.uint8]], content: str, index: int
    ) -> dict[str, Any]:
        """One completion; at temperature 0 the request's seed and the index make no difference."""
        draw = (request.seed, index) if request.temperature > 0 else None
        digest = hashlib.sha256(f"{self.seed}/{content}/{draw}".encode()).digest()
        tokens = _TOKEN.findall(self.say(question, pictures, np.random.default_rng(int.from_bytes(digest))))
        return {
            "index": index,
            "message": {"role": "assistant", "content": "".join(tokens[: request.limit])},
            "logprobs": None,
            "finish_reason": "length" if request.limit and len(tokens) > request.limit else "stop",
        }

    def say(self, question: str, pictures: list[NDArray[np.uint8]], rng: np.random.Generator) -> str:
        """The thought and the answer, in their tags."""
        careless, slips = rng.random() < self.careless, rng.random() < SLIP
        thought = _glance(question, pictures, rng) if careless and len(pictures) > 1 else None
        thought = thought or _look(question, pictures, slips) or _guess(question, rng)
        return f"<think>{thought.text}</think>\n<answer>{thought.answer}</answer>"


def _look(question: str, pictures: list[NDArray[np.uint8]], backwards: bool) -> Thought | None:
    """Go through one frame of each of four equal parts of the clip, leaving out those without anything in them."""
    picks = sorted({part * len(pictures) // MOMENTS for part in range(MOMENTS)}) if pictures else []
    numbers = [pick + 1 for pick in picks]
    views = [things(pictures[pick]) for pick in picks]
    seen = [(number, view) for number, view in zip(numbers, views[::-1] if backwards else views, strict=True) if view]
    return look(question, seen) if seen else None


def _glance(question: str, pictures: list[NDArray[np.uint8]], rng: np.random.Generator) -> Thought | None:
    picture = pictures[rng.integers(len(pictures))]
    spots = things(picture)
    return glance(question, tint(picture), spots[0]) if spots else None


def _guess(question: str, rng: np.random.Generator) -> Thought:
    letters = list(options_of(question).values())
    if letters:
        letter = letters[rng.integers(len(letters))]
        return Thought(f"the frames do not tell, so it is a guess, option {letter}.", letter)
    answer = str(rng.integers(1, 5)) if _NUMERIC.search(question) else "unknown"
    return Thought(f"the frames do not tell, so the guess is {answer}.", answer)


def _content(messages: list[Message]) -> tuple[str, list[NDArray[np.uint8]]]:
    """The text and the pictures of the user's turns, in order."""
    texts: list[str] = []
    pictures: list[NDArray[np.uint8]] = []
    for message in messages:
        if message.role != "user":
            continue
        parts = [TextPart(type="text", text=message.content)] if isinstance(message.content, str) else message.content
        for part in parts:
            if isinstance(part, TextPart):
                texts.append(part.text)
            else:
                pictures.append(_picture(part.image_url.url))
    return "\n".join(texts), pictures


def _picture(url: str) -> NDArray[np.uint8]:
    """RGB pixels [H, W, 3] of a JPEG or PNG in a data: URI; RequestError for anything else."""
    head, comma, data = url.partition(",")
    if not (comma and head.startswith("data:image/") and head.endswith(";base64")):
        raise RequestError(400, "image_url must be a data: URI with a base64 picture; nothing is fetched")
    try:
        with Image.open(io.BytesIO(base64.b64decode(data, validate=True)), formats=("JPEG", "PNG")) as image:
            if image.width * image.height > MAX_PIXELS:
                raise RequestError(
                    400, f"picture of {image.width}x{image.height} pixels; at most {MAX_PIXELS} are read"
                )
            return np.asarray(image.convert("RGB"))
    except (binascii.Error, Image.DecompressionBombError, UnidentifiedImageError, OSError, SyntaxError) as error:
        raise RequestError(400, f"picture cannot be read: {error}") from None


class _Handler(BaseHTTPRequestHandler):
    """GET /v1/models and POST /v1/chat/completions; every error is an OpenAI error object."""

    protocol_version = "HTTP/1.1"
    wbufsize = 2**16  # head and body leave in one packet, or each answer waits 40 ms for an acknowledgement
    disable_nagle_algorithm = True
    teacher: Teacher

    def do_GET(self) -> None:
        self._answer(self._models)

    def do_POST(self) -> None:
        self._answer(self._completion)

    def _answer(self, serve: Callable[[], dict[str, Any]]) -> None:
        try:
            self._send(200, serve())
        except RequestError as error:
            self.close_connection = True  # the body may be unread
            self._send(error.status, _error_object(str(error)))

    def _models(self) -> dict[str, Any]:
        if self.path != "/v1/models":
            raise RequestError(404, f"no such resource: {self.path}")
        return {"object": "list", "data": [{"id": MODEL, "object": "model", "created": 0, "owned_by": "local"}]}

    def _completion(self) -> dict[str, Any]:
        if self.path != "/v1/chat/completions":
            raise RequestError(404, f"no such resource: {self.path}")
        try:
            request = ChatRequest.model_validate_json(self.rfile.read(self._length()))
        except ValidationError as error:
            first = error.errors()[0]
            raise RequestError(400, f"{'.'.join(map(str, first['loc'])) or 'body'}: {first['msg']}") from None
        return self.teacher.complete(request)

    def _length(self) -> int:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            raise RequestError(411, "Content-Length is missing")
        if int(length) > MAX_BODY:
            raise RequestError(413, f"body of {length} bytes; at most {MAX_BODY} are read")
        return int(length)

    def _send(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        log.debug(format, *args)


class _Server(ThreadingHTTPServer):
    request_queue_size = 256  # clients open many connections at once

    def handle_error(self, request: Any, client_address: Any) -> None:
        if isinstance(sys.exception(), ConnectionError):
            log.debug("%s left before its answer", client_address)
        else:
            super().handle_error(request, client_address)


def _error_object(message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}


def serve(teacher: Teacher, port: int) -> _Server:
    """A server on loopback that answers in threads of its own until it is shut down; port 0 takes a free one."""
    server = _Server(("127.0.0.1", port), type("Handler", (_Handler,), {"teacher": teacher}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def base_url(server: _Server) -> str:
    """What an OpenAI client takes as its base_url."""
    return f"http://127.0.0.1:{server.server_port}/v1"


@contextmanager
def embedded_teacher(careless: float, seed: int) -> Iterator[str]:
    """Run the teacher as a process of its own and give its base_url.

    It leaves when its stdin closes, so it also leaves when this process is killed. It has its own session: Ctrl-C reaches
    this process alone, and requests in flight are still answered.
    """
    command = [sys.executable, "-m", "stages.embedded.teacher", "--careless", str(careless), "--seed", str(seed)]
    with subprocess.Popen(
        command,
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        try:
            url = process.stdout.readline().strip()
            if not url:
                raise RuntimeError(f"the embedded teacher did not start (exit code {process.wait()})")
            yield url
        finally:
            process.communicate()


def identity(careless: float, seed: int) -> str:
    """What decides the answers besides the request: the teacher's settings and the code of this room."""
    code = [sha256_file(path) for path in sorted(Path(__file__).parent.glob("*.py"))]
    return f"careless {careless} seed {seed} code {hashlib.sha256(''.join(code).encode()).hexdigest()}"


def main() -> None:
    """Serve on loopback, say the base_url on stdout, and stop when stdin closes."""
    parser = argparse.ArgumentParser(prog="python -m stages.embedded.teacher", description=main.__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument(
        "--careless", type=float, default=0.83, help="share of glances where a backdrop could suggest the answer"
    )
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    server = serve(Teacher(arguments.careless, arguments.seed), arguments.port)
    sys.stdout.write(base_url(server) + "\n")
    sys.stdout.flush()
    sys.stdin.buffer.read()
    server.shutdown()


if __name__ == "__main__":
    main()

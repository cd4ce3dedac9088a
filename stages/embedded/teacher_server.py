"""The embedded teacher's server: a local process of the OpenAI chat protocol.

Its answers depend on the request and the teacher's settings alone. `python -m stages.embedded.teacher_server` runs it.
"""

import argparse
import json
import logging
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

from pydantic import JsonValue, ValidationError

from stages.embedded.teacher import Teacher
from stages.embedded.teacher_protocol import MODEL, ChatRequest, RequestError, complete

log = logging.getLogger(__name__)

MAX_BODY: Final = 64 * 2**20  # bytes


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

    def _answer(self, serve: Callable[[], dict[str, JsonValue]]) -> None:
        try:
            self._send(200, serve())
        except RequestError as error:
            self.close_connection = True  # the body may be unread
            self._send(error.status, _error_object(str(error)))

    def _models(self) -> dict[str, JsonValue]:
        if self.path != "/v1/models":
            raise RequestError(404, f"no such resource: {self.path}")
        return {"object": "list", "data": [{"id": MODEL, "object": "model", "created": 0, "owned_by": "local"}]}

    def _completion(self) -> dict[str, JsonValue]:
        if self.path != "/v1/chat/completions":
            raise RequestError(404, f"no such resource: {self.path}")
        try:
            request = ChatRequest.model_validate_json(self.rfile.read(self._length()))
        except ValidationError as error:
            first = error.errors()[0]
            raise RequestError(400, f"{'.'.join(map(str, first['loc'])) or 'body'}: {first['msg']}") from None
        return complete(self.teacher, request)

    def _length(self) -> int:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            raise RequestError(411, "Content-Length is missing")
        if int(length) > MAX_BODY:
            raise RequestError(413, f"body of {length} bytes; at most {MAX_BODY} are read")
        return int(length)

    def _send(self, status: int, body: dict[str, JsonValue]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        log.debug(format, *args)


class _Server(ThreadingHTTPServer):
    request_queue_size = 256  # clients open many connections at once

    def handle_error(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        if isinstance(sys.exception(), ConnectionError):
            log.debug("%s left before its answer", client_address)
        else:
            super().handle_error(request, client_address)


def _error_object(message: str) -> dict[str, JsonValue]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}


def serve(teacher: Teacher, port: int) -> _Server:
    """A server on loopback, which answers in threads of its own.

    Port 0 takes a free one. `shutdown()` ends it.
    """
    server = _Server(("127.0.0.1", port), type("Handler", (_Handler,), {"teacher": teacher}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def base_url(server: _Server) -> str:
    """The base_url for an OpenAI client."""
    return f"http://127.0.0.1:{server.server_port}/v1"


@contextmanager
def embedded_teacher(careless: float, seed: int) -> Iterator[str]:
    """Run the teacher as its own process; gives its base_url.

    The process ends when its stdin closes, so it also ends when this process is killed. It has its own session: Ctrl-C
    reaches this process alone, and requests in flight are still answered.
    """
    command = [sys.executable, "-m", __name__, "--careless", str(careless), "--seed", str(seed)]
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


def main() -> None:
    """Serve on loopback, and stop when stdin closes.

    The base_url is printed on stdout.
    """
    parser = argparse.ArgumentParser(prog="python -m stages.embedded.teacher_server", description=main.__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument(
        "--careless", type=float, default=0.83, help="share of glances where a backdrop could suggest the answer"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the teacher's choices")
    arguments = parser.parse_args()
    server = serve(Teacher(arguments.careless, arguments.seed), arguments.port)
    sys.stdout.write(base_url(server) + "\n")
    sys.stdout.flush()
    sys.stdin.buffer.read()
    server.shutdown()


if __name__ == "__main__":
    main()

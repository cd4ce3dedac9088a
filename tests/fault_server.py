"""A real HTTP server that misbehaves on request.

It speaks the OpenAI chat protocol, and keeps a log of its requests.
"""

import gzip
import json
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from pydantic import JsonValue

THOUGHT = "<think>it moves left</think>\n<answer>A</answer>"
PROMPT_TOKENS, COMPLETION_TOKENS = 100, 20


@dataclass(frozen=True)
class Raw:
    """An answer as it goes over the wire."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    endless: bool = False  # the body is sent again and again, without a Content-Length


Fault = str | Raw


@dataclass
class Call:
    """One request as the server saw it."""

    text: str
    attempt: int  # 1 for the first request with this text and seed
    seed: int | None
    started: float
    in_flight: int
    body: dict[str, Any]
    headers: dict[str, str]
    path: str
    answered: bool = False

    @property
    def authorization(self) -> str | None:
        return self.headers.get("authorization")


@dataclass
class FaultServer:
    """`fault(text, attempt)` names what happens to a request.

    "ok" is a good answer, a `Raw` any other. `calls` is the log, in order of arrival.
    """

    fault: Callable[[str, int], Fault]
    latency_s: float
    url: str = ""
    calls: list[Call] = field(default_factory=list)
    in_flight: int = 0
    attempts: Counter[tuple[str, int | None]] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def answered(self) -> list[str]:
        return [call.text for call in self.calls if call.answered]

    def enter(self, body: dict[str, Any], headers: dict[str, str], path: str) -> Call:
        content = body["messages"][0]["content"]
        text, seed = content if isinstance(content, str) else content[-1]["text"], body.get("seed")
        with self.lock:
            self.in_flight += 1
            self.attempts[text, seed] += 1
            call = Call(text, self.attempts[text, seed], seed, time.monotonic(), self.in_flight, body, headers, path)
            self.calls.append(call)
        return call


def completion(
    text: JsonValue = THOUGHT, finish_reason: str | None = "stop", **message: JsonValue
) -> dict[str, JsonValue]:
    """A chat completion with `text` as its content.

    `message` has further fields of the message.
    """
    return {
        "id": "x",
        "object": "chat.completion",
        "choices": [
            {"message": {"role": "assistant", "content": text, **message}, "finish_reason": finish_reason},
        ],
        "usage": {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": COMPLETION_TOKENS},
    }


def raw(body: JsonValue, status: int = 200, **headers: str) -> Raw:
    """JSON as an answer; underscores in the names of headers become hyphens."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Raw(json.dumps(body).encode(), status, names)


BODIES: dict[str, dict[str, JsonValue]] = {
    "ok": completion(),
    "no usage": completion() | {"usage": None},
    "malformed thought": completion("it moves left, A"),
    "length": completion("<think>it mov", "length"),
    "content_filter": completion(None, "content_filter"),
    "refusal": completion(None, "stop", refusal="I cannot help with that"),
    "empty choices": {"choices": [], "usage": {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": 0}},
}
PASSING: tuple[Fault, ...] = (
    *("408", "429", "429 after 0.05", "500", "503", "reset", "stall", "drip", "malformed json", "empty choices"),
    raw({}, 429, retry_after_ms="50"),
    raw(completion(None, "abort")),
    raw({"error": {"message": "worker died"}}),
    Raw(b"<html>Bad gateway</html>", headers={"Content-Type": "text/html"}),
    Raw(b'data: {"choices": [{"delta": {}}]}\n\ndata: [DONE]\n\n'),
    Raw(gzip.compress(b"{"), headers={"Content-Encoding": "gzip"}),
)
"""Faults after which the same request may be answered."""
ODD_ANSWERS: tuple[Fault, ...] = (
    Raw(json.dumps(completion(f"caf\u00e9 {THOUGHT}"), ensure_ascii=False).encode("utf-8-sig")),  # with a BOM
    Raw(json.dumps(completion(f"caf\u00e9 {THOUGHT}"), ensure_ascii=False).encode("latin-1")),
    raw(completion(f"a\0b {THOUGHT}")),
    raw(completion(f"a\ud800b {THOUGHT}")),
    raw(completion() | {"usage": None}),
    *("length", "content_filter", "refusal"),
)
"""Answers that are final, and hard to read."""
# An HTTP status, optionally with the seconds of a Retry-After header, is named "429" or "429 after 0.3".


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 2**16
    disable_nagle_algorithm = True
    faults: FaultServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        call = self.faults.enter(body, {name.lower(): value for name, value in self.headers.items()}, self.path)
        try:
            time.sleep(self.faults.latency_s)
            fault = self.faults.fault(call.text, call.attempt)
            self.answer(fault, call) if isinstance(fault, Raw) else self.misbehave(fault, call)
        except OSError:  # the client hung up
            self.close_connection = True
        finally:
            with self.faults.lock:
                self.faults.in_flight -= 1

    def answer(self, fault: Raw, call: Call) -> None:
        if fault.endless:
            self.send_response(fault.status)
            self.end_headers()
            self.close_connection = True
            while True:
                self.wfile.write(fault.body)
        self.send(fault.status, fault.body, fault.headers)
        call.answered = fault.status == 200

    def misbehave(self, fault: str, call: Call) -> None:
        data = json.dumps(BODIES.get(fault, BODIES["ok"])).encode()
        if fault in BODIES:
            self.send(200, data)
            call.answered = True
        elif fault == "reset":
            self.send(200, data[:40], length=len(data))
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
        elif fault == "malformed json":
            self.send(200, data[:-20])
        elif fault == "filtered 400":  # as Azure does: the code says it, the message does not
            self.send(400, b'{"error": {"message": "The response was filtered", "code": "content_filter"}}')
        elif fault == "gzip":
            self.send(200, gzip.compress(data), {"Content-Encoding": "gzip"})
        elif fault == "elsewhere":
            self.send(308, b"", {"Location": f"http://127.0.0.1:9/v1/chat/completions?key={call.authorization}"})
        elif fault == "stall":
            time.sleep(1.5)
        elif fault == "drip":
            self.send(200, b"", length=len(data))
            for byte in data[:15]:
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                time.sleep(0.1)
        else:
            status, _, seconds = fault.partition(" after ")
            message = f"{fault}: the key was {call.authorization}"
            headers = {"Retry-After": seconds} if seconds else {}
            error: JsonValue = {"message": message, "type": "fault", "code": fault}
            self.send(int(status), json.dumps({"error": error}).encode(), headers)

    def send(
        self, status: int, data: bytes, headers: Mapping[str, str] | None = None, length: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in ({"Content-Type": "application/json"} | dict(headers or {})).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data) if length is None else length))
        self.end_headers()
        self.wfile.write(data)
        self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:
        """The log is `calls`."""


class Server(ThreadingHTTPServer):
    """A server that takes many connections at once: the default queue of 5 resets some on a busy machine."""

    request_queue_size = 256
    daemon_threads = True


@contextmanager
def fault_server(
    fault: Callable[[str, int], Fault] = lambda text, attempt: "ok",
    latency_s: float = 0.0,
    tls: ssl.SSLContext | None = None,
) -> Iterator[FaultServer]:
    """Run the server; with `tls` it speaks HTTPS."""
    faults = FaultServer(fault, latency_s)
    server = Server(("127.0.0.1", 0), type("FaultHandler", (Handler,), {"faults": faults}))
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    faults.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}/v1"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield faults
    finally:
        server.shutdown()
        server.server_close()

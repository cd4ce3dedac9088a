"""A real S3-compatible server (moto's) on loopback, behind a proxy that fails where a test says so."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Literal

import boto3
import pytest
from moto.server import ThreadedMotoServer

from stages.run import objects

Fault = Literal["503", "cut", "slow", "denied"]

BUCKET = "bucket"
KEY_ID, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI-bPxRfiCYEXAMPLEKEY"
PASSED = ("Content-Type", "ETag", "Content-Range", "Last-Modified", "Accept-Ranges")


class ObjectServer:
    """Objects in one bucket.

    faults: by the end of a request's path, how it fails. requests: what was asked, such as "GET /bucket/a.mp4".
    """

    def __init__(self, backend: int) -> None:
        self.faults: dict[str, Fault] = {}
        self.requests: list[str] = []
        self._proxy = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self, backend))
        self._proxy.daemon_threads = True
        Thread(target=self._proxy.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        address = f"http://127.0.0.1:{backend}"
        self._client = boto3.client(
            "s3", endpoint_url=address, aws_access_key_id=KEY_ID, aws_secret_access_key=SECRET, region_name="us-east-1"
        )
        self._client.create_bucket(Bucket=BUCKET)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._proxy.server_port}"

    def put(self, key: str, data: bytes | Path) -> str:
        """Store an object; returns its address."""
        self._client.put_object(Bucket=BUCKET, Key=key, Body=data.read_bytes() if isinstance(data, Path) else data)
        return f"s3://{BUCKET}/{key}"

    def delete(self, key: str) -> None:
        self._client.delete_object(Bucket=BUCKET, Key=key)

    def stop(self) -> None:
        """No request gets an answer any more."""
        self._proxy.shutdown()
        self._proxy.server_close()

    def count(self, method: str) -> int:
        return sum(request.startswith(f"{method} ") for request in self.requests)


@contextmanager
def object_server(patch: pytest.MonkeyPatch, cache: Path) -> Iterator[ObjectServer]:
    """A server whose address and credentials are in the environment, with an empty cache of objects."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    backend = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    backend.start()
    _, port = backend.get_host_and_port()
    server = ObjectServer(port)
    environment = {
        "AWS_ENDPOINT_URL": server.address,
        "AWS_ACCESS_KEY_ID": KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "OBJECT_CACHE": str(cache),
    }
    for name, value in environment.items():
        patch.setenv(name, value)
    objects._filesystem.cache_clear()  # it is made for one address
    yield server
    server.stop()
    backend.stop()
    objects._filesystem.cache_clear()


def _handler(server: ObjectServer, backend: int) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            server.requests.append(f"{self.command} {self.path}")
            fault: Fault | None = next((fault for end, fault in server.faults.items() if path.endswith(end)), None)
            if fault == "503":
                self._answer(503, {}, b"<Error><Code>SlowDown</Code></Error>")
            elif fault == "denied":
                said = f"<Error><Code>AccessDenied</Code><Message>{SECRET}</Message></Error>"
                self._answer(403, {}, said.encode())
            else:
                self._forward(fault)

        do_HEAD = do_GET

        def _forward(self, fault: Fault | None) -> None:
            connection = HTTPConnection("127.0.0.1", backend)
            connection.request(self.command, self.path, headers=dict(self.headers))
            answer = connection.getresponse()
            data = answer.read()
            headers = {name: value for name in PASSED if (value := answer.getheader(name))}
            if self.command == "HEAD":
                headers["Content-Length"] = answer.getheader("Content-Length", "0")
            self._answer(answer.status, headers, data, fault if self.command == "GET" else None)

        def _answer(self, status: int, headers: dict[str, str], data: bytes, fault: Fault | None = None) -> None:
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(data))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "HEAD":
                return
            self.wfile.write(data[: len(data) // 2] if fault else data)
            if fault == "slow":
                time.sleep(600)
            self.close_connection = bool(fault)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler

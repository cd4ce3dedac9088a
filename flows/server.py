"""How the Prefect server is started, secured and found."""

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.error import URLError
from urllib.request import urlopen

import httpx
from prefect.logging.handlers import APILogWorker
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_URL,
    PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS,
    temporary_settings,
)

from flows import process_tree
from flows.errors import UsageError

HOST = "127.0.0.1"
KEY = "PREFECT_SERVER_API_AUTH_STRING"
SECRETS = (KEY, "PREFECT_API_AUTH_STRING")  # no stage gets these


def new_key() -> str:
    """The key of a server: the user's own, or a random one."""
    return os.environ.get(KEY) or f"admin:{secrets.token_urlsafe(24)}"


def environment(port: int, key: str) -> dict[str, str]:
    """The variables by which a server and its clients find each other.

    The UI finds its server only if the address and the port are set along with `--port`.
    """
    return {
        **os.environ,
        "PREFECT_API_URL": api_url(port),
        "PREFECT_API_AUTH_STRING": key,
        KEY: key,
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"http://{HOST}:{port},http://localhost:{port}",
        "PREFECT_SERVER_API_HOST": HOST,
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_LOGGING_SERVER_LEVEL": "WARNING",
    }


def api_url(port: int) -> str:
    """The address of the API of a server on this machine."""
    return f"http://{HOST}:{port}/api"


@contextmanager
def found() -> Iterator[None]:
    """The configured server, or a temporary one that ends with this process.

    UsageError when the configured server does not answer or wants another key.
    """
    if url := PREFECT_API_URL.value():
        check(url)
        yield
    else:
        with temporary():
            yield


def check(url: str) -> None:
    """Asks a server whether it can be used."""
    key = PREFECT_API_AUTH_STRING.value()
    user, _, password = str(key or "").partition(":")
    try:
        status = httpx.get(f"{url}/hello", auth=(user, password) if key else None, timeout=30).status_code
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UsageError(
            f"no Prefect server answers at {url} ({error}): start one with `make ui`, "
            "or unset PREFECT_API_URL to run with a temporary one"
        ) from error
    if status in (401, 403):
        raise UsageError(
            f"the Prefect server at {url} wants its key: set PREFECT_API_AUTH_STRING as `make ui` prints it"
        )
    if status != 200:
        raise UsageError(f"what answers at {url} is no Prefect server (status {status}): correct PREFECT_API_URL")


@contextmanager
def temporary() -> Iterator[None]:
    """A server for this process alone, which its settings lead to.

    A supervisor ends it with this process, also after `kill -9`.
    """
    port, key = free_port(), new_key()
    env = environment(port, key) | {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1"}
    server = process_tree.start_supervised(
        [sys.executable, "-m", "flows.server_app", "--port", str(port), "--temporary"], env, grace=5
    )
    try:
        wait_until_healthy(server, port, PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS.value())
        with temporary_settings({PREFECT_API_URL: api_url(port), PREFECT_API_AUTH_STRING: key}):
            yield
            APILogWorker.drain_all(timeout=5)  # its last lines would find no server
    finally:
        process_tree.end_supervised(server)


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def wait_until_healthy(server: "subprocess.Popen[bytes]", port: int, seconds: float) -> None:
    """Returns when the server answers.

    UsageError when it ends or takes too long.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise UsageError(f"the Prefect server did not start at port {port}; the reason stands above")
        try:
            with urlopen(f"{api_url(port)}/health", timeout=5):
                return
        except (URLError, ConnectionError, TimeoutError):
            time.sleep(0.5)
    raise UsageError(f"the Prefect server does not answer at port {port} after {seconds:.0f} s")


def without_keys(env: Mapping[str, str]) -> dict[str, str]:
    """An environment without the keys of the server."""
    return {name: value for name, value in env.items() if name not in SECRETS}

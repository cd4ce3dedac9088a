"""`make ui` for tests: a real Prefect server and worker."""

import base64
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tests.conftest import ROOT
from tests.ports import free_port

ENDS = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


class Service:
    """`make ui` in a toy checkout: server, worker, deployments.

    messages: what the webhook has got.
    """

    def __init__(self, checkout: Path, home: Path, webhook: str, messages: list[str]) -> None:
        self.checkout, self.messages = checkout, messages
        port = free_port()
        self.api = f"http://127.0.0.1:{port}/api"
        self.env = {**os.environ, "PREFECT_HOME": str(home), "PREFECT_API_URL": self.api, "PYTHONPATH": str(ROOT)}
        if webhook:
            self.env["VIDEO_R1_WEBHOOK"] = webhook
        self.log = home / "serve.log"
        home.mkdir(exist_ok=True)
        with self.log.open("w") as log:
            command = [sys.executable, "-m", "flows.serve", "--port", str(port)]
            self.process = subprocess.Popen(command, cwd=checkout, env=self.env, stdout=log, stderr=log)
        until(lambda: "export PREFECT_API_URL" in self.log.read_text(), self.log)
        self.key = re.findall(r"PREFECT_API_AUTH_STRING=(\S+)", self.log.read_text())[0]
        self.env["PREFECT_API_AUTH_STRING"] = self.key

    def call(self, path: str, body: dict[str, Any] | None = None, method: str | None = None) -> Any:
        """The answer of the server's API, as JSON."""
        data = None if body is None else json.dumps(body).encode()
        login = "Basic " + base64.b64encode(self.key.encode()).decode()
        headers = {"content-type": "application/json", "authorization": login}
        request = Request(self.api + path, data, headers, method=method)
        while True:
            try:
                with urlopen(request, timeout=60) as answer:
                    return json.loads(answer.read() or b"null")
            except HTTPError as error:
                if error.code != 503:  # its database is busy: Prefect's own clients try again too
                    raise
                time.sleep(1)

    def create_run(self, deployment: str, **parameters: object) -> str:
        """The id of a new run of a deployment."""
        found = self.call(f"/deployments/name/{deployment}")["id"]
        return self.call(
            f"/deployments/{found}/create_flow_run", {"state": {"type": "SCHEDULED"}, "parameters": parameters}
        )["id"]

    def stage_pid(self, run: str, stage: str) -> int:
        """The process of a stage that this run starts."""

        def came() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            assert self.state_of(run) not in ENDS, self.log.read_text()
            return has_started(self.checkout, stage)

        until(came, self.log)
        return stage_pid(self.checkout, stage)

    def runs_of(self, deployment: str) -> list[dict[str, Any]]:
        """All flow runs of a deployment."""
        return self.call("/flow_runs/filter", {"deployments": {"id": {"any_": [deployment]}}})

    def state_of(self, run: str) -> str:
        """The type of a flow run's state."""
        return self.call(f"/flow_runs/{run}")["state_type"]

    @contextmanager
    def started(self, root: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """A run from the command line, killed when the test leaves it."""
        command = [sys.executable, "-m", "flows.pipeline", *arguments]
        with subprocess.Popen(
            command, cwd=root, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as flow:
            yield flow
            flow.kill()

    def run(self, root: Path, *arguments: str) -> "Run":
        """A run from the command line, to its end."""
        command = [sys.executable, "-m", "flows.pipeline", *arguments]
        done = subprocess.run(command, cwd=root, env=self.env, capture_output=True, text=True, timeout=300, check=False)
        return Run(self, done.returncode, done.stdout + done.stderr)

    def artifact(self, key: str) -> Any:
        """The data of the latest artifact of this key."""
        artifact = self.call(f"/artifacts/{key}/latest")
        return json.loads(artifact["data"]) if artifact["type"] == "table" else artifact["data"]


class Run:
    """A finished flow run, and the server's record of it."""

    def __init__(self, service: Service, status: int, output: str) -> None:
        self.service, self.status, self.output = service, status, output
        self.id = re.findall(r"/flow-run/([0-9a-f-]+)", output)[0]

    def state(self) -> dict[str, Any]:
        """The state as the server holds it."""
        return self.service.call(f"/flow_runs/{self.id}")["state"]

    def tasks(self) -> list[dict[str, Any]]:
        """The tasks of the run, as the server holds them."""
        return self.service.call("/task_runs/filter", {"flow_runs": {"id": {"any_": [self.id]}}})

    def stages(self) -> dict[str, str]:
        """The stages' states, which Prefect writes a moment later."""
        final: dict[str, str] = {}

        def read() -> bool:
            tasks = self.tasks()
            final.update({task["name"].partition(" (")[0]: task["state_name"] for task in tasks})
            return all(task["state_type"] in (*ENDS, "PENDING") for task in tasks)

        until(read, self.service.log)
        return final


def until(condition: Callable[[], object], log: Path | None = None, seconds: float = 240) -> None:
    """Waits for something that must come."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, log.read_text() if log else "it did not come"
        time.sleep(0.2)


def stage_pid(root: Path, stage: str) -> int:
    """The process of a stage that has started."""
    until(lambda: has_started(root, stage))
    return int((root / "trace" / stage).read_text().splitlines()[-1].split()[0])


def has_started(root: Path, stage: str) -> bool:
    """Whether a stage works now."""
    trace = root / "trace" / stage
    return trace.exists() and trace.read_text().endswith("starts\n")


@contextmanager
def listening(messages: list[str]) -> Iterator[str]:
    """A webhook on loopback: its address."""

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            messages.append(json.loads(self.rfile.read(int(self.headers["content-length"])))["text"])
            self.send_response(200)
            self.end_headers()

    with ThreadingHTTPServer(("127.0.0.1", 0), Hook) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/hook"
        server.shutdown()

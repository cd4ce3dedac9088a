"""Who may speak to what `make ui` starts."""

import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest

from tests.conftest import ROOT
from tests.flows.service import Service, free_port, until

pytestmark = pytest.mark.integration
FOREIGN = "http://evil.example"


def status(url: str, method: str = "GET", body: bytes | None = None, /, **headers: str) -> int:
    """The status of a request; header names are written with _."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        with urlopen(Request(url, body, named, method=method), timeout=60) as answer:
            return answer.status
    except HTTPError as error:
        return error.code


def test_a_web_page_can_neither_read_nor_write(service: Service) -> None:
    flows = f"{service.api}/flows/"
    flow = b'{"name": "evil"}'
    asked = {"access_control_request_method": "POST", "access_control_request_headers": "content-type"}
    assert status(flows, "OPTIONS", None, origin=FOREIGN, **asked) == 400
    assert status(flows, "POST", flow, content_type="application/json", origin=FOREIGN) == 401
    assert status(flows, "POST", flow, content_type="text/plain", origin=FOREIGN) == 401
    assert status(f"{service.api}/hello", authorization="Basic YWRtaW46YWRtaW4=") == 401
    assert "evil" not in [one["name"] for one in service.call("/flows/filter", {})]


def test_a_foreign_host_name_gets_nothing(service: Service) -> None:
    page = service.api.removesuffix("api")
    for host, expected in {
        "evil.example": 400,
        "127.0.0.1.evil.example": 400,
        "127.0.0.1:1": 200,
        "localhost": 200,
    }.items():
        assert status(page, host=host) == expected, host
        assert status(f"{service.api}/health", host=host) == expected, host
    address = urlsplit(service.api)
    with socket.create_connection((address.hostname, address.port)) as connection:
        upgrade = (
            "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: eA==\r\n"
        )
        connection.sendall(f"GET /api/events/out HTTP/1.1\r\nhost: evil.example\r\n{upgrade}\r\n".encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 400")


def test_a_run_from_the_command_line_needs_the_key_and_a_server(service: Service) -> None:
    command = [sys.executable, "-m", "flows.pipeline", "shapes"]

    def refused(**changes: str) -> str:
        env = service.env | changes
        done = subprocess.run(command, cwd=service.checkout, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        [line] = done.stderr.splitlines()
        return line

    assert "wants its key: set PREFECT_API_AUTH_STRING" in refused(PREFECT_API_AUTH_STRING="admin:wrong")
    nobody = f"http://127.0.0.1:{free_port()}/api"
    assert refused(PREFECT_API_URL=nobody).startswith(f"pipeline: no Prefect server answers at {nobody}")


@pytest.mark.skipif(not shutil.which("chromium"), reason="no chromium: the page is opened in a real browser")
def test_the_printed_address_opens_the_ui_by_one_click(service: Service, tmp_path: Path) -> None:
    [address] = re.findall(r"Prefect UI: (\S+)", service.log.read_text())

    def page(address: str) -> str:
        options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
        command = ["chromium", *options, "--virtual-time-budget=20000", "--dump-dom", address]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False).stdout

    root = address.partition("/login")[0]
    assert "pipeline" not in page(f"{root}/deployments")
    assert service.key not in page(address)
    until(lambda: "nightly" in page(f"{root}/deployments"))


@pytest.fixture
def report_server(tmp_path: Path) -> Iterator[str]:
    """The report's server in a folder of its own: its address."""
    (tmp_path / "report" / "pictures").mkdir(parents=True)
    (tmp_path / "report" / "index.html").write_text("the report")
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "report" / "link.txt").symlink_to(tmp_path / "secret.txt")
    (tmp_path / "report" / "up").symlink_to(tmp_path)
    port = free_port()
    command = [sys.executable, "-m", "flows.report_server", "--port", str(port)]
    env = {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=tmp_path, env=env) as server:
        address = f"http://127.0.0.1:{port}"
        until(lambda: listens(port))
        yield address
        server.terminate()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_the_reports_server_serves_its_folder_alone(report_server: str) -> None:
    statuses = {
        path: status(report_server + path)
        for path in (
            "/index.html",
            "/",
            "/pictures/",
            "/link.txt",
            "/up/secret.txt",
            "/../secret.txt",
            "/%2e%2e/secret.txt",
        )
    }
    assert statuses == {
        "/index.html": 200,
        "/": 200,
        "/pictures/": 404,
        "/link.txt": 404,
        "/up/secret.txt": 404,
        "/../secret.txt": 404,
        "/%2e%2e/secret.txt": 404,
    }
    assert status(f"{report_server}/index.html", host="evil.example") == 400

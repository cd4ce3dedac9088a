"""Item 1: who may speak to what `make ui` starts. The servers are real, and the browser is where Chromium is."""

import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest

from tests.conftest import ROOT
from tests.flows.service import Service, until
from tests.ports import free_port

pytestmark = pytest.mark.integration
FOREIGN = "http://evil.example"
ATTACK = """<!doctype html><ul></ul><script>
const tell = (what, how) => document.querySelector("ul").innerHTML += `<li>${what} ${how}</li>`;
const flow = {method: "POST", body: '{"name": "evil"}', credentials: "include"};
const frame = document.createElement("iframe");
(async () => {
  const json = {...flow, headers: {"content-type": "application/json"}};
  await fetch("API/flows/", json).then(() => tell("create", "done"), () => tell("create", "blocked"));
  await fetch("API/flows/", {...flow, mode: "no-cors"}).then(answer => tell("blind", answer.type));
  await fetch("API/admin/version").then(() => tell("read", "done"), () => tell("read", "blocked"));
  frame.src = "API".replace("/api", "/");
  frame.onload = () => {
    try { tell("frame", frame.contentWindow.localStorage.length ? "done" : "empty"); }
    catch { tell("frame", "blocked"); }
  };
  document.body.append(frame);
})();
</script>"""
in_a_browser = pytest.mark.skipif(not shutil.which("chromium"), reason="no chromium: the page is for a real browser")


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


def dom(address: str, profile: Path, *more: str) -> str:
    """What a page looks like in a browser when it has settled."""
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}", *more]
    command = ["chromium", *options, "--virtual-time-budget=20000", "--dump-dom", address]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False).stdout


@in_a_browser
def test_the_printed_address_opens_the_ui_by_one_click(service: Service, tmp_path: Path) -> None:
    [address] = re.findall(r"Prefect UI: (\S+)", service.log.read_text())
    root = address.partition("/login")[0]
    assert "pipeline" not in dom(f"{root}/deployments", tmp_path)
    assert service.key not in dom(address, tmp_path)
    until(lambda: "nightly" in dom(f"{root}/deployments", tmp_path))


@contextmanager
def serving(page: str) -> Iterator[str]:
    """A site of somebody else that has one page."""

    class Site(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, format: str, *args: object) -> None:
            """No line per request."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@in_a_browser
def test_a_page_of_another_origin_gets_nothing_done_in_the_users_browser(service: Service, tmp_path: Path) -> None:
    """The user has logged in before, in the same browser."""
    [address] = re.findall(r"Prefect UI: (\S+)", service.log.read_text())
    dom(address, tmp_path)
    with serving(ATTACK.replace("API", service.api)) as site:
        told = dom(site, tmp_path)
    assert re.findall(r"<li>(\w+) (\w+)</li>", told) == [
        ("create", "blocked"),
        ("blind", "opaque"),
        ("read", "blocked"),
        ("frame", "blocked"),
    ]
    assert "evil" not in [one["name"] for one in service.call("/flows/filter", {})]


@in_a_browser
def test_a_name_that_leads_to_this_machine_gets_nothing(service: Service, tmp_path: Path) -> None:
    """A site can give its own name this machine's address, and is then of the same origin as the server."""
    rules = "--host-resolver-rules=MAP evil.example 127.0.0.1"
    page = service.api.replace("127.0.0.1", "evil.example")
    assert "Invalid host header" in dom(f"{page}/health", tmp_path, rules)


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

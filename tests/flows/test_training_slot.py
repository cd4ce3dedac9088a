"""The slot for training stages outlives no run, however the run ends."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.conftest import ROOT
from tests.flows.conftest import edit
from tests.flows.service import Run, Service, stage_pid
from tests.flows.test_process_tree import ends

pytestmark = pytest.mark.integration
Start = Callable[[], Service]


@pytest.fixture
def start(toy_with_deployments: Path, tmp_path: Path) -> Iterator[Start]:
    """Starts `make ui`, each time on the same data."""
    started: list[Service] = []

    def begin() -> Service:
        started.append(Service(toy_with_deployments, tmp_path / "home", "", []))
        return started[-1]

    yield begin
    for service in started:
        service.process.kill()


def train(service: Service) -> tuple[str, int]:
    """A run that trains without end: its id and its process."""
    root = service.checkout
    edit(root, '"tgrpo": {"value": 100', '"tgrpo": {"await": ["never"], "value": 100')
    run = service.create_run("pipeline/pipeline", targets=["tgrpo"])
    return run, service.stage_pid(run, "tgrpo")


def trains_at_once(service: Service) -> None:
    """A new run gets the slot without waiting, and its training completes."""
    root = service.checkout
    edit(root, '"await": ["never"], ', "")
    run = service.run(root, "tgrpo")
    assert run.stages()["tgrpo"] == "Completed"
    assert "waiting:" not in run.output


@pytest.mark.timeout(900)
def test_ctrl_c_of_make_ui_cancels_the_training_and_frees_its_slot(start: Start) -> None:
    service = start()
    run, pid = train(service)
    service.process.send_signal(signal.SIGINT)
    assert service.process.wait(120) == 0
    assert ends([pid])
    again = start()
    assert again.state_of(run) == "CANCELLED"
    assert Run(again, 0, f"/flow-run/{run}").stages()["tgrpo"] == "Cancelled"
    trains_at_once(again)


@pytest.mark.timeout(900)
def test_a_killed_server_ends_make_ui_with_one_line_and_frees_the_slot(start: Start) -> None:
    service = start()
    run, pid = train(service)
    shown = len(service.log.read_text())
    server = next(one for one in psutil.Process(service.process.pid).children(True) if is_server(one))
    server.kill()
    assert service.process.wait(120) == 1
    assert ends([pid])
    lines = service.log.read_text()[shown:].splitlines()
    assert [line for line in lines if "ended by itself" in line] == lines[-1:]
    assert "the server ended by itself (killed by signal 9)" in lines[-1]
    assert not any("Traceback" in line for line in lines)
    again = start()
    assert again.state_of(run) == "CRASHED"
    trains_at_once(again)


@pytest.mark.timeout(900)
def test_a_killed_make_ui_leaves_no_process(start: Start) -> None:
    service = start()
    run, pid = train(service)
    processes = psutil.Process(service.process.pid).children(recursive=True)
    assert any(is_server(one) for one in processes)
    service.process.kill()
    assert ends([pid, *(one.pid for one in processes)])
    again = start()
    assert again.state_of(run) == "CRASHED"
    trains_at_once(again)


@pytest.mark.timeout(900)
def test_a_killed_run_on_its_temporary_server_leaves_no_server_and_no_slot(toy: Path, tmp_path: Path) -> None:
    black_hole = "http://127.0.0.1:9"  # loopback never goes through a proxy
    env = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    env |= {"PREFECT_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT), "HTTP_PROXY": black_hole}
    command = [sys.executable, "-m", "flows.pipeline", "tgrpo"]
    edit(toy, '"tgrpo": {"value": 100', '"tgrpo": {"await": ["never"], "value": 100')
    for ending in (signal.SIGKILL, signal.SIGTERM):
        with subprocess.Popen(command, cwd=toy, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as flow:
            (toy / "trace" / "tgrpo").unlink(missing_ok=True)
            pid = stage_pid(toy, "tgrpo")
            processes = psutil.Process(flow.pid).children(recursive=True)
            assert any(is_server(one) for one in processes)
            flow.send_signal(ending)
            flow.communicate()
        assert ends([pid, *(one.pid for one in processes)])
    edit(toy, '"await": ["never"], ', "")
    done = subprocess.run(command, cwd=toy, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0
    assert "waiting:" not in done.stdout + done.stderr


def is_server(process: psutil.Process) -> bool:
    """Whether a process is a Prefect server itself, not its supervisor."""
    words = process.cmdline()
    return "flows.server_app" in words and not any(word.endswith("process_tree.py") for word in words)


def test_a_second_training_waits_and_names_the_first(service: Service, toy: Path, finished: Path) -> None:
    edit(toy, '"tgrpo": {"value": 100', '"tgrpo": {"await": ["go"], "value": 100')
    with service.started(toy, "tgrpo") as first:
        stage_pid(toy, "tgrpo")
        with service.started(finished, "tgrpo", "--force", "--single") as second:
            assert second.stdout
            line = next(line for line in second.stdout if "waiting:" in line)
            assert f"(process {first.pid} on " in line
            assert line.endswith("trains; one training stage runs at a time\n")
            (toy / "go").touch()
            first.communicate(timeout=300)
            second.communicate(timeout=300)
    assert (first.returncode, second.returncode) == (0, 0)

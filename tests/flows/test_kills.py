"""What cancels, kills and collisions leave, and the next run."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.flows.conftest import edit
from tests.flows.service import Run, Service, stage_pid, until
from tests.flows.test_process_tree import ends, is_alive

pytestmark = pytest.mark.integration


def test_cancelling_a_run_ends_its_processes_and_the_next_run_goes_on(service: Service) -> None:
    root = service.checkout
    edit(root, '"sft": {"value": 10}', '"sft": {"value": 11, "await": ["never"]}')
    before = (root / "trace" / "sft").read_text() if (root / "trace" / "sft").exists() else ""
    cancelled = service.create_run("pipeline/pipeline")
    until(lambda: (root / "trace" / "sft").exists() and (root / "trace" / "sft").read_text() != before, service.log)
    pid = stage_pid(root, "sft")
    assert is_alive(pid)
    service.call(f"/flow_runs/{cancelled}/set_state", {"state": {"type": "CANCELLING"}, "force": True})
    until(lambda: service.state_of(cancelled) == "CANCELLED", service.log)
    assert ends([pid])
    edit(root, ', "await": ["never"]', "")
    run = service.run(root, "sft")
    assert run.status == 0
    assert run.stages()["sft"] == "Completed"


def test_a_second_run_on_the_checkout_waits_and_names_the_first(service: Service, toy: Path) -> None:
    edit(toy, '"shapes": {', '"shapes": {"await": ["go"], ')
    with service.started(toy, "shapes") as first:
        stage_pid(toy, "shapes")
        holder = (toy / ".dvc" / "tmp" / "flow.lock").read_text()
        assert holder.endswith(f"(process {first.pid} on {socket.gethostname()})")
        with service.started(toy, "shapes") as second:
            assert second.stdout
            assert any(f"waiting: {holder} works on this checkout" in line for line in second.stdout)
            (toy / "go").touch()
            first.communicate(timeout=300)
            output, _ = second.communicate(timeout=300)
    assert (first.returncode, second.returncode) == (0, 0)
    assert "Completed('1 cached')" in output


def test_a_killed_flow_leaves_no_process_and_the_next_run_goes_on(service: Service, toy: Path) -> None:
    edit(toy, '"shapes": {', '"shapes": {"await": ["go"], ')
    with service.started(toy, "sft") as flow:
        pid = stage_pid(toy, "shapes")
        processes = [process.pid for process in psutil.Process(flow.pid).children(recursive=True)]
        assert pid in processes
        flow.kill()
        killed = Run(service, 0, flow.communicate()[0])
    assert ends(processes)
    assert not (toy / "out" / "shapes.json").exists()
    assert killed.state()["type"] == "RUNNING"
    (toy / "go").touch()
    assert service.run(toy, "sft").stages() == {"shapes": "Completed", "sft": "Completed"}
    assert killed.state()["type"] == "CRASHED"


def test_a_killed_worker_leaves_no_process_and_the_next_run_goes_on(service: Service) -> None:
    root = service.checkout
    deployment = service.call("/deployments/name/pipeline/pipeline")["id"]
    edit(root, '"report": {"value": 0}', '"report": {"value": 5, "await": ["never"]}')
    trace = root / "trace" / "report"
    before = trace.read_text() if trace.exists() else ""
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "other", "--type", "process"]
    with subprocess.Popen(
        command, cwd=root, env=service.env, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
    ) as worker:
        until(lambda: "other" in [pool["name"] for pool in service.call("/work_pools/filter", {})], service.log)
        service.call(f"/deployments/{deployment}", {"work_pool_name": "other"}, method="PATCH")
        run = service.create_run("pipeline/pipeline")
        until(lambda: trace.exists() and trace.read_text() != before, service.log)
        processes = [process.pid for process in psutil.Process(worker.pid).children(recursive=True)]
        assert stage_pid(root, "report") in processes
        lock = (root / "dvc.lock").read_text()
        worker.kill()
    service.call(f"/deployments/{deployment}", {"work_pool_name": "local"}, method="PATCH")
    assert ends(processes)
    assert (root / "dvc.lock").read_text() == lock
    assert service.state_of(run) == "CRASHED"
    edit(root, ', "await": ["never"]', "")
    assert service.run(root).stages()["report"] == "Completed"


def test_a_killed_stage_fails_and_the_next_run_goes_on(service: Service, toy: Path) -> None:
    edit(toy, '"shapes": {', '"shapes": {"await": ["go"], ')
    with service.started(toy, "sft") as flow:
        os.kill(stage_pid(toy, "shapes"), signal.SIGKILL)
        output, _ = flow.communicate(timeout=300)
    assert flow.returncode == 1
    assert "Failed('1 failed, 1 not reached (shapes failed)')" in output
    (toy / "go").touch()
    assert service.run(toy, "sft").stages() == {"shapes": "Completed", "sft": "Completed"}

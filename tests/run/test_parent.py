"""What DVC leaves running when it is told to end alone: nothing."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import psutil
import pytest
from ruamel.yaml import YAML

from tests.conftest import ROOT
from tests.flows.test_process_tree import ends

STAGE = """\
import os, subprocess, sys, time
import stages
if len(sys.argv) == 1:
    subprocess.Popen([sys.executable, __file__, "worker"], start_new_session=True)
with open("pids", "a") as file:
    file.write(f"{os.getpid()}\\n")
time.sleep(600)
"""


# bash becomes a last command, dash stays above it.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("shell", "command", "ended", "ending"),
    [
        ("/bin/sh", "python stage.py", "dvc", signal.SIGTERM),
        ("/bin/bash", "python stage.py", "dvc", signal.SIGKILL),
        ("/bin/bash", "python stage.py; true", "shell", signal.SIGTERM),
    ],
)
def test_a_stage_and_its_workers_end_with_dvc(
    tmp_path: Path, shell: str, command: str, ended: str, ending: signal.Signals
) -> None:
    (tmp_path / "stage.py").write_text(STAGE)
    (tmp_path / "dvc.yaml").write_text(f"stages: {{one: {{cmd: '{command}'}}}}")
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config").write_text("[core]\n    no_scm = True\n")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PATH": path, "SHELL": shell}
    dvc = [sys.executable, "-m", "dvc", "repro"]
    with subprocess.Popen(dvc, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True) as process:
        pids = tmp_path / "pids"
        while not pids.exists() or pids.read_text().count("\n") < 2:
            assert process.poll() is None
            time.sleep(0.05)
        (child,) = psutil.Process(process.pid).children()
        (child if ended == "shell" else psutil.Process(process.pid)).send_signal(ending)
        process.wait()
        assert ends([int(pid) for pid in pids.read_text().split()])
        assert process.stderr
        assert process.stderr.read().count("DVC has ended, so its stage ends too") == 1


def test_every_command_of_the_pipeline_starts_with_the_watch() -> None:
    commands = [stage["cmd"] for stage in YAML(typ="safe", pure=True).load(ROOT / "dvc.yaml")["stages"].values()]
    assert all(command.startswith("python -m stages.") for command in commands)


def test_a_process_that_dvc_did_not_start_outlives_its_parent(tmp_path: Path) -> None:
    (tmp_path / "stage.py").write_text("import time, stages\ntime.sleep(2)\nopen('done', 'x').close()\n")
    starter = f"import subprocess, sys; print(subprocess.Popen([{sys.executable!r}, 'stage.py']).pid)"
    environment = {name: value for name, value in os.environ.items() if name != "DVC_STAGE"} | {"PYTHONPATH": str(ROOT)}
    started = subprocess.check_output([sys.executable, "-c", starter], cwd=tmp_path, env=environment, stderr=None)
    assert ends([int(started)])
    assert (tmp_path / "done").exists()


def test_a_worker_of_a_pool_has_no_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_STAGE", "frames")
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        threads = pool.submit(eval, "[t.name for t in (__import__('stages'), __import__('threading').enumerate())[1]]")
        assert threads.result() == ["MainThread"]

"""What DVC leaves running when it is told to end alone: nothing."""

import os
import signal
import subprocess
import sys
from pathlib import Path

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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "ending"), [("python stage.py", signal.SIGTERM), ("python stage.py; true", signal.SIGKILL)]
)
def test_a_stage_and_its_workers_end_with_dvc(tmp_path: Path, command: str, ending: signal.Signals) -> None:
    (tmp_path / "stage.py").write_text(STAGE)
    (tmp_path / "dvc.yaml").write_text(f"stages: {{one: {{cmd: '{command}'}}}}")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    dvc = [sys.executable, "-m", "dvc"]
    subprocess.run([*dvc, "init", "--no-scm", "--quiet"], cwd=tmp_path, env=environment, check=True)
    with subprocess.Popen([*dvc, "repro"], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True) as process:
        pids = tmp_path / "pids"
        while not pids.exists() or pids.read_text().count("\n") < 2:
            assert process.poll() is None
        process.send_signal(ending)
        process.wait()
        assert ends([int(pid) for pid in pids.read_text().split()])
        assert process.stderr
        said = process.stderr.read()
    assert said.count("DVC has ended, so its stage ends too") == (0 if ";" in command else 1)


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

"""The command that starts a training stage."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stages.launch import Launch, launch_command, parse
from tests.conftest import ROOT

FLAGS = ["--model", "models/sft", "--out", "models/tgrpo"]


def test_one_process_is_plain_python() -> None:
    assert launch_command(Launch("tgrpo", FLAGS, 1, None)) == [sys.executable, "-m", "stages.tgrpo", *FLAGS]


def test_several_processes_go_through_torchrun() -> None:
    command = launch_command(Launch("sft", FLAGS, 4, None))
    assert command[1:6] == ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=4", "-m"]
    assert command[6:] == ["stages.sft", *FLAGS]


def test_a_hostfile_goes_to_deepspeeds_launcher(tmp_path: Path) -> None:
    command = launch_command(Launch("tgrpo", FLAGS, 8, tmp_path / "hosts"))
    assert command[1:] == [
        "-m",
        "deepspeed.launcher.runner",
        "--hostfile",
        str(tmp_path / "hosts"),
        "--no_local_rank",
        "--module",
        "stages.tgrpo",
        *FLAGS,
    ]


@pytest.mark.slow
def test_processes_on_other_machines_are_told_to_resume(tmp_path: Path) -> None:
    # The network is not there, so ssh only answers and pdsh only writes down what it is asked to run.
    for name, script in (("ssh", "echo 127.0.0.1"), ("pdsh", f'echo "$@" > {tmp_path}/asked')):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "hosts").write_text("worker-1 slots=1\nworker-2 slots=1\n")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "DS_ACCELERATOR": "cpu", "RESUME": "1", "SECRET": "2"}
    environment |= {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = [sys.executable, "-m", "stages.launch", "--hostfile", "hosts", "tgrpo", *FLAGS]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    asked = (tmp_path / "asked").read_text()
    assert "-w worker-1,worker-2" in asked
    assert "export RESUME=1;" in asked
    assert "SECRET" not in asked
    assert asked.rstrip().endswith(f"stages.tgrpo {' '.join(FLAGS)}")


def test_the_stages_flags_pass_through_untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOSTFILE", raising=False)
    assert parse(["--processes", "2", "tgrpo", *FLAGS]) == Launch("tgrpo", FLAGS, 2, None)


def test_the_environment_chooses_without_a_change_of_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("worker-1 slots=8\n")
    monkeypatch.setenv("HOSTFILE", str(tmp_path / "hosts"))
    monkeypatch.setenv("PROCESSES", "3")
    assert parse(["sft"]) == Launch("sft", [], 3, tmp_path / "hosts")


def test_a_missing_hostfile_is_a_clear_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOSTFILE", str(tmp_path / "nowhere"))
    with pytest.raises(SystemExit):
        parse(["sft"])
    assert "unset HOSTFILE" in capsys.readouterr().err

"""The command that starts a training stage."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stages.launch import Launch, launch_command, parse, slurm_command
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
        "--force_multi",
        "--no_local_rank",
        "--log_level",
        "critical",
        "--module",
        "stages.tgrpo",
        *FLAGS,
    ]


def test_machines_that_meet_without_ssh_wait_for_each_other() -> None:
    command = launch_command(Launch("sft", FLAGS, 8, nodes=2, rendezvous="worker-1:29500"))
    meeting = ["--rdzv-backend=c10d", "--rdzv-endpoint=worker-1:29500", "--rdzv-id=sft"]
    assert command[2:] == [
        "torch.distributed.run", "--nnodes=2", "--nproc-per-node=8", *meeting, "-m", "stages.sft", *FLAGS
    ]  # fmt: skip


def test_a_slurm_job_of_several_nodes_starts_the_command_on_each(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "scontrol").write_text("#!/bin/sh\necho node-3; echo node-4\n")
    (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    job = {"SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_NODELIST": "node-[3-4]", "SLURM_JOB_ID": "40017"}
    for name, value in job.items():
        monkeypatch.setenv(name, value)
    command = slurm_command(Launch("sft", FLAGS, 8))
    assert command is not None
    assert command[:3] == ["srun", "--nodes=2", "--ntasks=2"]
    assert command[5:] == [
        sys.executable, "-m", "stages.launch", "--nodes", "2", "--rendezvous", "node-3:29517", "sft", *FLAGS
    ]  # fmt: skip
    monkeypatch.setenv("SLURM_STEP_ID", "0")
    assert slurm_command(Launch("sft", FLAGS, 8)) is None


def test_a_stage_without_flags_takes_those_of_the_pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("NODES", "2")
    monkeypatch.setenv("RENDEZVOUS", "worker-1:29500")
    found = parse(["sft"])
    assert found.flags[:4] == ["--samples", "data/sft.parquet", "--frame-store", "data/frames"]
    assert (found.nodes, found.rendezvous) == (2, "worker-1:29500")


@pytest.mark.parametrize("alone", ["NODES", "RENDEZVOUS"])
def test_a_meeting_without_its_place_or_number_is_refused(
    monkeypatch: pytest.MonkeyPatch, alone: str, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(alone, {"NODES": "2", "RENDEZVOUS": "worker-1:29500"}[alone])
    with pytest.raises(SystemExit):
        parse(["sft"])
    assert "set both or none" in capsys.readouterr().err


@pytest.mark.slow
def test_processes_on_other_machines_are_told_to_resume(tmp_path: Path) -> None:
    # The network is not there, so ssh only answers and pdsh only writes down what it is asked to run.
    for name, script in (("ssh", "echo 127.0.0.1"), ("pdsh", f'echo "$@" > {tmp_path}/asked')):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "hosts").write_text("worker-1 slots=1\nworker-2 slots=1\n")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "DS_ACCELERATOR": "cpu", "RESUME": "1", "HF_TOKEN": "2"}
    environment |= {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = [sys.executable, "-m", "stages.launch", "--hostfile", "hosts", "tgrpo", *FLAGS]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    asked = (tmp_path / "asked").read_text()
    assert "-w worker-1,worker-2" in asked
    assert "export RESUME=1;" in asked
    assert "HF_TOKEN" not in asked
    assert asked.rstrip().endswith(f"stages.tgrpo {' '.join(FLAGS)}")


def test_the_stages_flags_pass_through_untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOSTFILE", raising=False)
    assert parse(["--processes", "2", "tgrpo", *FLAGS]) == Launch("tgrpo", FLAGS, 2, None)


def test_the_environment_chooses_without_a_change_of_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("worker-1 slots=8\n")
    monkeypatch.chdir(tmp_path)
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

"""Checkpoints of real DeepSpeed: their size, and a disk that fills while they are written."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stages.model.load import load_config
from stages.planning.memory import Training
from stages.planning.plan import checkpoint
from stages.planning.size import ModelSize, model_size
from tests.conftest import ROOT
from tests.sft_inputs import quick, steps, write_inputs

OVERHEAD = 1.15  # names, shapes and random states beside the numbers of a small model
SECONDS = 300


def train(inputs: dict[str, Path], folder: Path, processes: int, **changes: Any) -> list[dict[str, str]]:
    """The steps of a run in processes of its own."""
    folder.mkdir()
    status, said = execute(inputs, folder, processes, **changes)
    assert status == 0, said
    return steps(folder / "sft.csv")


def execute(inputs: dict[str, Path], folder: Path, processes: int, **changes: Any) -> tuple[int, str]:
    """The exit status of a run in processes of its own, and what it says."""
    (folder / "params.yaml").write_text(json.dumps({"sft": quick(**changes).model_dump()}))
    outputs = {"out": folder / "model", "metrics": folder / "sft.json", "plot": folder / "sft.csv"}
    flags = [part for name, path in (inputs | outputs).items() for part in (f"--{name.replace('_', '-')}", str(path))]
    done = subprocess.run(
        [sys.executable, "-m", "stages.launch", "--processes", str(processes), "sft", *flags],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        timeout=SECONDS,
        stderr=subprocess.PIPE,
        text=True,
    )
    return done.returncode, done.stderr


@pytest.mark.integration
@pytest.mark.skipif(sys.platform != "linux" or os.getuid() != 0, reason="only root can mount a small disk")
def test_a_full_disk_while_shards_are_written_costs_the_steps_since_the_last_checkpoint(tmp_path: Path) -> None:
    inputs, whole, small = write_inputs(tmp_path), tmp_path / "whole", tmp_path / "small"
    how = {"samples_per_forward": 1, "deepspeed": 3}
    expected = train(inputs, whole, 2, **how)
    (checkpoint,) = whole.glob(".work/sft/*/*/checkpoint-2")
    size = sum(file.stat().st_size for file in checkpoint.rglob("*") if file.is_file())
    work = small / ".work"
    work.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size * 8 // 5}", "tmpfs", str(work)], check=True)
    try:
        status, said = execute(inputs, small, 2, **how)
        assert status == 1
        assert "no space left on the disk" in said.splitlines()[-1]
        assert "Traceback" not in said
        assert [path.parent.name for path in work.glob("sft/*/*/checkpoint-*/complete.json")] == ["checkpoint-2"]
        subprocess.run(["mount", "-o", f"remount,size={size * 5}", str(work)], check=True)
        status, said = execute(inputs, small, 4, **how)
        assert status == 1
        assert "checkpoint-2 holds shards of 2 processes, and this run has 4" in said.splitlines()[-1]
        status, said = execute(inputs, small, 2, **how)
        assert status == 0, said
        assert "/checkpoint-2\n" in said
    finally:
        subprocess.run(["umount", str(work)], check=True)
    assert steps(small / "sft.csv") == expected
    model = "model/model.safetensors"
    assert (small / model).read_bytes() == (whole / model).read_bytes()


@pytest.mark.integration
@pytest.mark.parametrize("zero", [2, 3])
def test_shards_on_the_disk_have_the_planned_size_and_fit_their_number_of_processes_only(
    tmp_path: Path, zero: int
) -> None:
    inputs = write_inputs(tmp_path)
    how = {"samples_per_forward": 1, "deepspeed": zero, "save_total_limit": 1}
    train(inputs, tmp_path / "run", 2, **how)
    (folder,) = (tmp_path / "run").glob(".work/sft/*/*/checkpoint-*")
    assert folder.name == "checkpoint-4"
    shards = list(folder.glob("global_step4/*_states.pt"))
    assert len(list(folder.glob("**/*optim_states.pt"))) == 2
    assert not list(folder.glob("**/*.safetensors"))
    size: ModelSize = model_size(load_config(inputs["model"]))
    planned = checkpoint(size, Training("fp32", quick(**how).deepspeed, None, "full", False, 2))
    assert planned <= sum(file.stat().st_size for file in shards) <= OVERHEAD * planned

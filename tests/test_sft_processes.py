"""SFT on several processes: real DeepSpeed, on the CPU."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.sft_inputs import quick, steps, write_inputs

SECONDS = 300  # a process that waits for the passes of another would wait for ever


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
@pytest.mark.parametrize("vision_lr_scale", [1.0, 0.0], ids=["vision trained", "vision frozen"])
def test_shards_train_on_videos_and_images_together_as_one_process_does(tmp_path: Path, vision_lr_scale: float) -> None:
    inputs = write_inputs(tmp_path)
    how = {"samples_per_forward": 1, "vision_lr_scale": vision_lr_scale}
    alone = train(inputs, tmp_path / "alone", 1, **how)
    together = train(inputs, tmp_path / "together", 2, deepspeed=3, **how)
    for step_alone, step_together in zip(alone, together, strict=True):
        assert float(step_together["loss"]) == pytest.approx(float(step_alone["loss"]), rel=1e-4)
        assert float(step_together["grad_norm"]) == pytest.approx(float(step_alone["grad_norm"]), rel=1e-3)


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

"""Checkpoints of several processes: their size, a full disk, and another number of processes."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint
from safetensors.torch import load_file

from stages.model.load import load_config
from stages.model.processes import ZeroStage
from stages.planning.memory import Training
from stages.planning.plan import checkpoint as planned_size
from stages.planning.size import model_size
from tests import warm
from tests.sft_inputs import quick, start_sft, steps, write_inputs
from tests.warm import Started

OVERHEAD = 1.15  # names, shapes and random states beside the numbers of a small model
SECONDS = 300


def train(inputs: dict[str, Path], folder: Path, processes: int, **changes: Any) -> list[dict[str, str]]:
    """The steps of a run in processes of its own."""
    folder.mkdir()
    begin(inputs, folder, processes, **changes).finish()
    return steps(folder / "sft.csv")


def begin(inputs: dict[str, Path], folder: Path, processes: int, by_launcher: bool = False, **changes: Any) -> Started:
    """A run in processes of its own, whose outputs are in `folder`."""
    outputs = {"out": folder / "model", "metrics": folder / "sft.json", "plot": folder / "sft.csv"}
    return start_sft(quick(**changes), inputs | outputs, folder, processes, by_launcher)


def has_no_space(started: Started) -> None:
    """The run ends in one line."""
    assert started.wait(SECONDS) == 1
    assert "no space left on the disk" in started.said.splitlines()[-1]
    assert "Traceback" not in started.said


def goes_on(started: Started) -> None:
    """The run ends well, from the first checkpoint on."""
    started.finish(SECONDS)
    assert "/checkpoint-2\n" in started.said


@pytest.mark.integration
@pytest.mark.skipif(sys.platform != "linux" or os.getuid() != 0, reason="only root can mount a small disk")
def test_a_full_disk_while_shards_are_written_costs_the_steps_since_the_last_checkpoint(tmp_path: Path) -> None:
    inputs, whole, small = write_inputs(tmp_path), tmp_path / "whole", tmp_path / "small"
    how: dict[str, Any] = {"samples_per_forward": 1, "deepspeed": 3}
    expected = train(inputs, whole, 2, **how)
    (checkpoint,) = whole.glob(".work/sft/*/*/checkpoint-2")
    size = sum(file.stat().st_size for file in checkpoint.rglob("*") if file.is_file())
    work = small / ".work"
    work.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size * 8 // 5}", "tmpfs", str(work)], check=True)
    try:
        has_no_space(begin(inputs, small, 2, by_launcher=True, **how))
        assert [path.parent.name for path in work.glob("sft/*/*/checkpoint-*/complete.json")] == ["checkpoint-2"]
        has_no_space(begin(inputs, small, 4, **how))  # which would convert the checkpoint
        subprocess.run(["mount", "-o", f"remount,size={size * 5}", str(work)], check=True)
        goes_on(begin(inputs, small, 2, **how))
    finally:
        subprocess.run(["umount", str(work)], check=True)
    assert steps(small / "sft.csv") == expected
    model = "model/model.safetensors"
    assert (small / model).read_bytes() == (whole / model).read_bytes()


@pytest.mark.integration
@pytest.mark.parametrize(("zero", "before", "after"), [(None, 1, 2), (2, 2, 3), (3, 3, 2)])
def test_a_run_goes_on_with_another_number_of_processes(
    tmp_path: Path, zero: ZeroStage | None, before: int, after: int
) -> None:
    inputs, folder = write_inputs(tmp_path), tmp_path / "run"
    how = {"samples_per_forward": 1, "batch_size": 6, "deepspeed": zero, "vision_lr_scale": 0.1, "weight_decay": 1.0}
    expected = train(inputs, folder, before, **how)
    weights = load_file(folder / "model" / "model.safetensors")
    _, last = sorted(folder.glob(".work/sft/*/*/checkpoint-*"))
    if zero is not None:
        has_planned_size(last, inputs["model"], zero, before)
    shutil.rmtree(last)
    goes_on(begin(inputs, folder, after, **how))
    for row, wanted in zip(steps(folder / "sft.csv"), expected, strict=True):
        for figure, value in wanted.items() - {("tokens", wanted["tokens"])}:
            assert float(row[figure]) == pytest.approx(float(value), rel=1e-4), (row["step"], figure)
    torch.testing.assert_close(load_file(folder / "model" / "model.safetensors"), weights, atol=1e-6, rtol=0)


@pytest.mark.integration
def test_bf16_shards_are_converted_without_a_change_of_their_fp32_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    for processes in (2, 3):
        warm.start("tests.bf16_steps", [str(checkpoint), str(processes)], tmp_path, processes).finish(SECONDS)
    whole, resumed = (json.loads((checkpoint / f"losses-{processes}.json").read_text()) for processes in (2, 3))
    assert resumed[0] == pytest.approx(whole[2], rel=1e-6)
    assert resumed[1] == pytest.approx(whole[3], rel=0.02)  # after one step more, whose sums bf16 rounds otherwise
    weights = get_fp32_state_dict_from_zero_checkpoint(str(checkpoint), "global_step2")
    assert weights
    for name, weight in weights.items():
        converted = torch.load(checkpoint / "global_step2_universal" / "zero" / name / "fp32.pt", weights_only=True)
        assert torch.equal(converted.reshape(weight.shape), weight), name


def has_planned_size(checkpoint: Path, model: Path, zero: ZeroStage, processes: int) -> None:
    """Its shards are the whole checkpoint, and as large as the plan says."""
    assert len(list(checkpoint.glob("**/*optim_states.pt"))) == processes
    assert not list(checkpoint.glob("**/*.safetensors"))
    shards = sum(file.stat().st_size for file in checkpoint.glob("global_step4/*_states.pt"))
    planned = planned_size(model_size(load_config(model)), Training("fp32", zero, None, "full", False, processes))
    assert planned <= shards <= OVERHEAD * planned

"""SFT on several processes: real DeepSpeed, on the CPU."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stages.model.families import FAMILIES
from tests.conftest import ROOT
from tests.sft_inputs import LORA, quick, steps, write_inputs

SECONDS = 300  # a process that waits for the passes of another would wait for ever


def train(inputs: dict[str, Path], folder: Path, processes: int, **changes: Any) -> list[dict[str, str]]:
    """The steps of a run in processes of its own."""
    folder.mkdir()
    (folder / "params.yaml").write_text(json.dumps({"sft": quick(**changes).model_dump()}))
    outputs = {"out": folder / "model", "metrics": folder / "sft.json", "plot": folder / "sft.csv"}
    flags = [part for name, path in (inputs | outputs).items() for part in (f"--{name.replace('_', '-')}", str(path))]
    subprocess.run(
        [sys.executable, "-m", "stages.launch", "--processes", str(processes), "sft", *flags],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        timeout=SECONDS,
        check=True,
    )
    return steps(outputs["plot"])


@pytest.mark.integration
@pytest.mark.parametrize("vision_lr_scale", [1.0, 0.0], ids=["vision trained", "vision frozen"])
def test_shards_train_on_videos_and_images_together_as_one_process_does(tmp_path: Path, vision_lr_scale: float) -> None:
    how = {"samples_per_forward": 1, "vision_lr_scale": vision_lr_scale}
    assert_equal_steps(write_inputs(tmp_path), tmp_path, how, zero=3)


@pytest.mark.integration
@pytest.mark.parametrize("family", FAMILIES)
def test_two_processes_train_every_family_as_one_does(tmp_path: Path, family: str) -> None:
    assert_equal_steps(write_inputs(tmp_path, family), tmp_path, {"samples_per_forward": 1}, zero=2)


@pytest.mark.integration
@pytest.mark.parametrize("how", [{"lora": LORA | {"experts": True}}, {"router_loss": 0.5}], ids=["adapters", "router"])
def test_two_processes_train_adapters_on_experts_and_routers_as_one_does(tmp_path: Path, how: dict[str, Any]) -> None:
    assert_equal_steps(write_inputs(tmp_path, "qwen3_vl_moe"), tmp_path, {"samples_per_forward": 1} | how, zero=2)


def assert_equal_steps(inputs: dict[str, Path], folder: Path, how: dict[str, Any], zero: int) -> None:
    """One plain process and two under ZeRO have equal losses and gradients."""
    alone = train(inputs, folder / "alone", 1, **how)
    together = train(inputs, folder / "together", 2, deepspeed=zero, **how)
    assert len(alone) == 4
    for step_alone, step_together in zip(alone, together, strict=True):
        assert float(step_together["loss"]) == pytest.approx(float(step_alone["loss"]), rel=1e-4)
        assert float(step_together["grad_norm"]) == pytest.approx(float(step_alone["grad_norm"]), rel=1e-3)

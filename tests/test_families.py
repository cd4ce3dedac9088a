"""Every family in whole runs: trained, stopped, resumed, saved and evaluated."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from stages.model.adapters import Lora
from stages.model.families import FAMILIES
from stages.model.load import load_model
from stages.sft import SftTrainer, run
from tests.conftest import ROOT
from tests.evaluation.prepared import PARAMS, evaluate, prepare
from tests.model.tiny_models import WRITERS
from tests.rl.runs import SMALL, rows
from tests.rl.runs import write_inputs as write_rl_inputs
from tests.sft_inputs import LORA, folder_bytes, quick, steps, write_inputs
from tests.test_tgrpo_processes import finish, kill_after_checkpoint, start

SECONDS = 300  # a process that waits for the passes of another would wait for ever


@pytest.mark.parametrize("how", [{}, {"lora": LORA}], ids=["full", "adapters"])
@pytest.mark.parametrize("family", FAMILIES)
def test_sft_goes_on_from_its_checkpoint_and_saves_a_plain_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str, how: dict[str, Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    inputs = write_inputs(tmp_path, family)
    run(quick(**how), **inputs)
    whole = folder_bytes(inputs["out"]), inputs["plot"].read_bytes()
    (work,) = tmp_path.glob(".work/sft/*/0")
    (work / "checkpoint-4" / "complete.json").unlink()
    trained: list[int] = []
    step = SftTrainer.training_step
    monkeypatch.setattr(
        SftTrainer, "training_step", lambda self, *args: trained.append(self.state.global_step) or step(self, *args)
    )
    run(quick(**how), **inputs)
    assert trained == [2, 3]
    assert (folder_bytes(inputs["out"]), inputs["plot"].read_bytes()) == whole
    before, after = load_model(inputs["model"]).state_dict(), load_model(inputs["out"]).state_dict()
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_benchmark_is_answered_in_every_showing(tmp_path: Path, family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # work folders of another time would ask what to do
    prepare(tmp_path)
    params = PARAMS.model_copy(update={"orders": ("ordered", "blind")})
    predictions = evaluate(params, WRITERS[family](tmp_path / "model"), tmp_path)
    answered = [(row["sample_id"], row["order"]) for row in predictions if row["text"]]
    assert len(set(answered)) == len(answered) == 2 * 6  # of seven questions one has no frames
    shown = {row["sample_id"]: row["text"] for row in predictions if row["order"] == "ordered"}
    unseen = {row["sample_id"]: row["text"] for row in predictions if row["order"] == "blind"}
    assert shown != unseen


@pytest.mark.integration
@pytest.mark.parametrize("adapters", [False, True], ids=["full", "adapters"])
@pytest.mark.parametrize("family", FAMILIES)
def test_tgrpo_in_two_processes_resumes_and_agrees_with_one(tmp_path: Path, family: str, adapters: bool) -> None:
    lora = Lora(rank=2, alpha=4, experts=family.endswith("_moe")) if adapters else None
    params = SMALL.model_copy(update={"questions_per_forward": 1, "deepspeed": 2, "lora": lora})
    inputs = write_rl_inputs(tmp_path, family)
    two = ("stages.launch", "--processes", "2", "tgrpo")
    killed, whole, plain = tmp_path / "killed", tmp_path / "whole", tmp_path / "plain"
    kill_after_checkpoint(start(params, inputs, killed, *two), killed, 2)
    finish(start(params, inputs, killed, *two))
    finish(start(params, inputs, whole, *two))
    finish(start(params.model_copy(update={"deepspeed": None}), inputs, plain))
    for file in ("plot.csv", "rollouts.parquet", "model/model.safetensors"):
        assert (killed / file).read_bytes() == (whole / file).read_bytes(), file
    for column in ("reward", "loss", "kl", "entropy", "grad_norm", "completion_tokens"):
        together, alone = ([float(row[column]) for row in rows(folder)] for folder in (whole, plain))
        assert together == pytest.approx(alone, rel=1e-3, abs=1e-5), column
    assert any(float(row["grad_norm"]) > 0 for row in rows(plain))


def train_sft(inputs: dict[str, Path], folder: Path, processes: int, **changes: Any) -> list[dict[str, str]]:
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
@pytest.mark.parametrize("family", FAMILIES)
def test_two_processes_train_every_family_as_one_does(tmp_path: Path, family: str) -> None:
    assert_equal_steps(write_inputs(tmp_path, family), tmp_path, {"samples_per_forward": 1}, zero=2)


@pytest.mark.integration
@pytest.mark.parametrize("how", [{"lora": LORA | {"experts": True}}, {"router_loss": 0.5}], ids=["adapters", "router"])
def test_two_processes_train_adapters_on_experts_and_routers_as_one_does(tmp_path: Path, how: dict[str, Any]) -> None:
    assert_equal_steps(write_inputs(tmp_path, "qwen3_vl_moe"), tmp_path, {"samples_per_forward": 1} | how, zero=2)


def assert_equal_steps(inputs: dict[str, Path], folder: Path, how: dict[str, Any], zero: int) -> None:
    """One plain process and two under ZeRO have equal losses and gradients."""
    alone = train_sft(inputs, folder / "alone", 1, **how)
    together = train_sft(inputs, folder / "together", 2, deepspeed=zero, **how)
    assert len(alone) == 4
    for step_alone, step_together in zip(alone, together, strict=True):
        assert float(step_together["loss"]) == pytest.approx(float(step_alone["loss"]), rel=1e-4)
        assert float(step_together["grad_norm"]) == pytest.approx(float(step_alone["grad_norm"]), rel=1e-3)

"""Every family in whole runs: trained, stopped, resumed, saved and evaluated."""

from pathlib import Path
from typing import Any

import pytest
import torch

from stages.model.adapters import Lora
from stages.model.families import FAMILIES
from stages.model.load import load_model
from stages.sft import SftTrainer, run
from tests.evaluation.prepared import PARAMS, evaluate, prepare
from tests.model.tiny_models import WRITERS
from tests.rl.runs import SMALL, alone, rows
from tests.rl.runs import write_inputs as write_rl_inputs
from tests.sft_inputs import LORA, folder_bytes, quick, start_sft, steps, write_inputs
from tests.test_tgrpo_processes import kill_after_checkpoint, start

# Two processes run no code of GLM-4.6V that is not GLM-4.1V's: the families differ in the text of a video's times.
TOGETHER = [family for family in FAMILIES if family != "glm46v"]


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
@pytest.mark.parametrize("family", TOGETHER)
def test_tgrpo_in_two_processes_resumes_and_agrees_with_one(
    tmp_path: Path, family: str, adapters: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    lora = Lora(rank=2, alpha=4, experts=family.endswith("_moe")) if adapters else None
    change = {"questions_per_forward": 1, "lora": lora}
    params = SMALL.model_copy(update=change | {"deepspeed": 2})
    inputs = write_rl_inputs(tmp_path, family)
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    kill_after_checkpoint(start(params, inputs, killed, 2), killed, 2)
    start(params, inputs, killed, 2).finish()
    start(params, inputs, whole, 2).finish()
    for file in ("plot.csv", "rollouts.parquet", "model/model.safetensors"):
        assert (killed / file).read_bytes() == (whole / file).read_bytes(), file
    plain = alone(change, inputs, tmp_path / "plain", monkeypatch)
    for column in ("reward", "loss", "kl", "entropy", "grad_norm", "completion_tokens"):
        of_two, of_one = ([float(row[column]) for row in table] for table in (rows(whole), plain))
        assert of_two == pytest.approx(of_one, rel=1e-3, abs=1e-5), column
    assert any(float(row["grad_norm"]) > 0 for row in plain)


@pytest.mark.integration
@pytest.mark.parametrize("family", TOGETHER)
def test_two_processes_train_every_family_as_one_does(
    tmp_path: Path, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_equal_steps(family, {}, tmp_path, monkeypatch)


@pytest.mark.integration
@pytest.mark.parametrize("how", [{"lora": LORA | {"experts": True}}, {"router_loss": 0.5}], ids=["adapters", "router"])
def test_two_processes_train_adapters_on_experts_and_routers_as_one_does(
    tmp_path: Path, how: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_equal_steps("qwen3_vl_moe", how, tmp_path, monkeypatch)


def assert_equal_steps(family: str, how: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process and two under ZeRO-2 have equal losses and gradients."""
    how, inputs = {"samples_per_forward": 1} | how, write_inputs(folder, family)
    monkeypatch.chdir(folder)
    run(quick(**how), **inputs)
    of_one = steps(inputs["plot"])
    start_sft(quick(**how, deepspeed=2), inputs, folder, 2).finish()
    of_two = steps(inputs["plot"])
    assert len(of_one) == 4
    for step_of_one, step_of_two in zip(of_one, of_two, strict=True):
        assert float(step_of_two["loss"]) == pytest.approx(float(step_of_one["loss"]), rel=1e-4)
        assert float(step_of_two["grad_norm"]) == pytest.approx(float(step_of_one["grad_norm"]), rel=1e-3)

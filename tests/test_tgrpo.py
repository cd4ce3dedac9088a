import csv
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from stages.model.adapters import Lora
from stages.model.families import FAMILIES
from stages.rl.gpu_idle import GpuIdle
from stages.rl.guards import Guards
from stages.rl.loss import LossParams
from stages.run.errors import UserError
from stages.tgrpo import COLUMNS, TgrpoParams
from tests.model.tiny_models import WRITERS, clip, picture, question
from tests.rl.conftest import write_frames
from tests.rl.runs import SMALL, alone, rows, train, write_inputs, write_training_set


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `write_inputs` leaves."""
    return write_inputs(tmp_path_factory.mktemp("tgrpo"))


def test_a_run_writes_a_model_figures_for_every_step_and_rollouts_with_their_reward_parts(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    train(SMALL, inputs, tmp_path)
    figures = rows(tmp_path)
    assert [row["step"] for row in figures] == ["1", "2", "3", "4"]
    assert list(figures[0]) == list(COLUMNS)
    assert float(figures[0]["format"]) > 0.5
    assert any(float(row["grad_norm"]) > 1e-3 for row in figures)
    assert float(figures[0]["kl"]) == pytest.approx(0.0, abs=1e-6)  # the policy starts as the reference
    assert all(0 <= float(row["sampling_logp_difference"]) < 1e-5 for row in figures)
    assert all(0 <= float(row["sampling_kl"]) < 1e-8 for row in figures)
    kept = pq.read_table(tmp_path / "rollouts.parquet").to_pylist()
    assert {row["order"] for row in kept} == {"ordered", "shuffle"}
    assert [row["step"] for row in kept] == sorted(row["step"] for row in kept)
    assert json.loads((tmp_path / "metrics.json").read_text())["steps"] == 4
    before, after = (load_file(path / "model.safetensors") for path in (inputs / "sft", tmp_path / "model"))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert not any(".visual." in name for name in moved)


@pytest.mark.slow
@pytest.mark.parametrize("freeze_vision", [True, False])
def test_full_training_in_bf16_samples_and_scores_the_reference_as_it_scores_the_policy(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, freeze_vision: bool
) -> None:
    (row,) = alone(
        {"precision": "bf16", "freeze_vision": freeze_vision, "max_steps": 1}, inputs, tmp_path / "run", monkeypatch
    )
    assert float(row["kl"]) == 0.0  # the policy starts as the reference
    assert 0 < float(row["sampling_logp_difference"]) < 0.05  # of the order of bf16's rounding, 2⁻⁸
    assert 0 < float(row["sampling_kl"]) < 0.005


@pytest.mark.slow
def test_the_same_run_gives_the_same_bytes(inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        train(SMALL, inputs, tmp_path / name)
    for file in ("plot.csv", "metrics.json", "rollouts.parquet", "model/model.safetensors"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file


RECIPES = {
    "other losses": {
        "updates_per_rollout": 2,
        "loss": LossParams(name="cispo", importance="sequence", clip_low=0.1, clip_high=0.3),
    },
    "gradient accumulation, dapo": {"questions_per_forward": 1, "loss": LossParams(name="dapo")},
    "moving std, strict": {"scale": "ema", "temporal": "strict"},
    "plain GRPO without contrast": {"contrast_size": 0, "temporal": "off"},
    "adapters": {"lora": Lora(rank=2, alpha=4)},
    "adapters, of vision too": {"lora": Lora(rank=2, alpha=4, vision="adapters"), "freeze_vision": False},
    "adapters, vision trained": {
        "lora": Lora(rank=2, alpha=4, vision="full"),
        "freeze_vision": False,
        "gradient_checkpointing": True,
        "precision": "bf16",
    },
    "vision trained, checkpointing": {"freeze_vision": False, "gradient_checkpointing": True},
    "no reference": {"loss": LossParams(beta=0.0)},
    "bf16": {"precision": "bf16"},
    "likelihood": {"temporal": "likelihood", "alpha": 2.0},
    "likelihood, vision trained": {"temporal": "likelihood", "freeze_vision": False},
    "likelihood, adapters": {"temporal": "likelihood", "lora": Lora(rank=2, alpha=4)},
    "thought": {"temporal": "thought", "alpha": 2.0},
    "answer, gated": {"temporal": "answer", "gate_visits": 2},
    "relation to reversed frames": {"temporal": "relation", "contrast": "reverse", "scale": "batch"},
    "tokens, corrected": {
        "temporal": "tokens",
        "alpha": 3.0,
        "loss": LossParams(importance_sampling_mode="token_truncate"),
    },
    "contrast normalised over the batch": {"contrast_scale": "batch", "scale": "batch"},
    "faithfulness measured, vision trained": {"faithfulness_every": 1, "freeze_vision": False},
    "truncated importance sampling": {"loss": LossParams(importance_sampling_mode="token_truncate")},
}


@pytest.mark.slow
@pytest.mark.parametrize("change", RECIPES.values(), ids=RECIPES.keys())
def test_every_recipe_trains(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, object]
) -> None:
    monkeypatch.chdir(tmp_path)
    train(SMALL.model_copy(update=change | {"max_steps": 2}), inputs, tmp_path)
    assert len(rows(tmp_path)) == 2
    before, after = (load_file(path / "model.safetensors") for path in (inputs / "sft", tmp_path / "model"))
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name].float()) for name in before)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_trains_on_videos_and_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str) -> None:
    monkeypatch.chdir(tmp_path)
    samples = [question("clip"), question("image", data_type="image")]
    write_frames(tmp_path, {"clip": clip(), "image": picture()})
    write_training_set(tmp_path / "rl.parquet", samples)
    WRITERS[family](tmp_path / "sft")
    train(
        SMALL.model_copy(update={"max_steps": 2, "freeze_vision": False, "gradient_checkpointing": True}),
        tmp_path,
        tmp_path,
    )
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("sft", "model"))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert any("visual" in name for name in moved)
    assert any(".layers." in name for name in moved)
    assert not [name for name in moved if name.endswith("mlp.gate.weight")]  # a mixture's routers are frozen


def test_every_figure_of_every_step_goes_to_a_file_beside_the_checkpoints(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    monkeypatch.setattr(GpuIdle, "take", lambda self: 0.25)  # as if there were a GPU
    for _ in range(2):  # the second run starts from the last checkpoint and repeats no row
        folder.mkdir(exist_ok=True)
        monkeypatch.chdir(folder)
        train(SMALL, inputs, folder)
        (file,) = folder.glob(".work/tgrpo/*/*/steps.jsonl")
        history = [json.loads(line) for line in file.read_text().splitlines()]
        figures = [row for row in history if "reward" in row]
        assert [row["step"] for row in figures] == [1, 2, 3, 4]
        assert set(COLUMNS) | {"seconds_rollout", "seconds_reference", "seconds_update", "tokens_per_second"} <= set(
            figures[0]
        )
        assert all(row["gpu_idle"] == 0.25 for row in figures)
        assert all(row["seconds_rollout"] > 0 and row["tokens_per_second"] > 0 for row in figures)


@pytest.mark.slow
def test_every_figure_of_every_step_goes_to_tensorboard(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    train(SMALL.model_copy(update={"report_to": "tensorboard"}), inputs, tmp_path)
    (folder,) = tmp_path.glob(".work/tgrpo/*/*/runs/*")
    events = EventAccumulator(str(folder)).Reload()
    with open(tmp_path / "plot.csv", newline="") as file:
        expected = [float(row["reward"]) for row in csv.DictReader(file)]
    assert [event.step for event in events.Scalars("train/reward")] == [1, 2, 3, 4]
    assert [event.value for event in events.Scalars("train/reward")] == pytest.approx(expected)
    assert {f"train/{name}" for name in (*COLUMNS[1:], "tokens_per_second")} <= set(events.Tags()["scalars"])


def test_a_tracker_that_is_not_installed_is_named(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="report_to names mlflow, which is not installed: pip install mlflow"):
        train(SMALL.model_copy(update={"report_to": "mlflow"}), inputs, tmp_path)


def test_bf16_under_deepspeed_without_a_gpu_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    params = SMALL.model_copy(update={"deepspeed": 2, "precision": "bf16"})
    with pytest.raises(UserError, match="set precision to fp32, or deepspeed to null"):
        params.arguments(tmp_path, {})


def test_a_tripped_guard_stops_the_run_with_advice_and_leaves_the_checkpoint(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    guards = Guards(window=3, max_truncated=0.5, max_zero_variance=1.0, min_format=0.0)
    with pytest.raises(UserError, match=r"100% of the responses were cut off .* raise tgrpo.max_new_tokens"):
        train(SMALL.model_copy(update={"guards": guards, "max_new_tokens": 1}), inputs, tmp_path)
    assert [path.name for path in Path(".work/tgrpo").glob("*/*/checkpoint-*")] == ["checkpoint-2"]


def test_a_loss_that_is_not_finite_stops_the_run_with_advice(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"is (nan|inf) at step \d: lower learning_rate"):
        train(SMALL.model_copy(update={"learning_rate": 1e30, "save_steps": 1}), inputs, tmp_path)
    kept = list(Path(".work/tgrpo").glob("*/*/checkpoint-*/model.safetensors"))
    assert kept
    assert all(weight.isfinite().all() for path in kept for weight in load_file(path).values())


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(ValidationError, match="nothing to compare with"):
        TgrpoParams(contrast_size=0)
    with pytest.raises(ValidationError, match=r"nothing to compare with: .* off, likelihood, answer, tokens"):
        TgrpoParams(contrast_size=0, temporal="relation")
    with pytest.raises(ValidationError, match="gate_visits compares answers on contrast frames"):
        TgrpoParams(contrast_size=0, temporal="likelihood", gate_visits=1)
    with pytest.raises(ValidationError, match="contrast_scale batch is for temporal paper and strict"):
        TgrpoParams(temporal="relation", contrast_scale="batch")
    with pytest.raises(ValidationError, match="multiple of updates_per_rollout"):
        TgrpoParams(updates_per_rollout=3, save_steps=50)
    with pytest.raises(ValidationError, match="set omega 0"):
        TgrpoParams(length_min=512, length_max=320)
    for freeze_vision, vision in ((False, "frozen"), (True, "adapters"), (True, "full")):
        with pytest.raises(ValidationError, match=r"freeze_vision and lora\.vision contradict each other"):
            TgrpoParams(lora=Lora.model_validate({"vision": vision}), freeze_vision=freeze_vision)


def test_questions_that_cannot_be_shared_out_evenly_are_refused(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="must be a multiple of questions_per_forward x processes"):
        train(SMALL.model_copy(update={"questions_per_step": 3}), inputs, tmp_path)


@pytest.mark.slow
def test_a_finished_run_that_is_started_again_writes_the_same_files(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    train(SMALL, inputs, tmp_path)
    first = {
        file: (tmp_path / file).read_bytes()
        for file in ("plot.csv", "metrics.json", "rollouts.parquet", "model/model.safetensors")
    }
    train(SMALL, inputs, tmp_path)
    assert first == {file: (tmp_path / file).read_bytes() for file in first}

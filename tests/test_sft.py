"""Supervised fine-tuning on a handful of samples with the embedded model, untrained."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from stages.data.sample import TRAINING_SCHEMA, read_samples
from stages.model.checkpoints import last_checkpoint
from stages.model.examples import Examples
from stages.model.inputs import IGNORE, PromptBuilder
from stages.model.load import load_model
from stages.model.vision import pixel_media
from stages.run.errors import UserError
from stages.run.files import read_json, write_table
from stages.sft import build_trainer, completion_loss, run, training_arguments
from stages.video.frame_store import FrameReader
from tests.conftest import ROOT
from tests.sft_inputs import LORA, QUICK, folder_bytes, quick, steps, write_inputs


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    monkeypatch.chdir(tmp_path)
    return write_inputs(tmp_path)


@pytest.fixture
def examples(inputs: dict[str, Path]) -> Examples:
    reader = FrameReader(inputs["frame_store"], inputs["samples"])
    return Examples(read_samples(inputs["samples"]), reader, PromptBuilder(inputs["model"]))


def test_the_loss_is_on_the_assistants_tokens_only(examples: Examples) -> None:
    rows = [examples[0], examples[3], examples[2]]
    inputs = examples.collate(rows)
    labelled = [labels_K[labels_K != IGNORE].tolist() for labels_K in inputs["labels"]]
    assert labelled == [completion.tolist() for _, completion in rows]
    assert examples.builder.tokenizer.decode(labelled[0]) == (
        "<think>it moves right, option B.</think>\n<answer>B</answer><|im_end|>"
    )
    assert inputs["logits_to_keep"] < inputs["input_ids"].shape[1]


def test_the_loss_equals_the_mean_over_each_sample_computed_alone(examples: Examples, inputs: dict[str, Path]) -> None:
    model = load_model(inputs["model"])
    rows = [examples[0], examples[3], examples[2]]
    logps = []
    for prompt, completion in rows:
        alone = examples.builder.normalised(examples.builder.batch([prompt], [completion]))
        labels_L = alone.pop("labels")[0]
        with torch.no_grad():
            logps_LV = model(**alone).logits[0].log_softmax(-1)
        logps += [logps_LV[place - 1, labels_L[place]] for place in (labels_L != IGNORE).nonzero()[:, 0]]
    together = examples.collate(rows)
    labels, prompts = together.pop("labels"), together.pop("prompts")
    together |= pixel_media(examples.builder, prompts, model.device)
    with torch.no_grad():
        loss = completion_loss(model(**together), labels)
    assert len(logps) == sum(len(completion) for _, completion in rows)
    assert loss.item() == pytest.approx(-torch.stack(logps).mean().item(), abs=1e-5)


def test_a_run_learns_and_writes_a_model_a_table_and_metrics(inputs: dict[str, Path]) -> None:
    run(quick(max_steps=12, warmup_steps=2), **inputs)
    table = steps(inputs["plot"])
    assert [row["step"] for row in table] == [str(step) for step in range(1, 13)]
    assert float(table[-1]["loss"]) < 0.7 * float(table[0]["loss"])
    assert [float(row["learning_rate"]) for row in table[:3]] == [0.0, 5e-4, 1e-3]
    tokens = [int(row["tokens"]) for row in table]
    assert tokens == sorted(set(tokens))
    metrics = read_json(inputs["metrics"])
    assert metrics["samples"] == 10
    assert metrics["steps"] == 12
    assert metrics["tokens"] == tokens[-1]
    before, after = load_model(inputs["model"]).state_dict(), load_model(inputs["out"]).state_dict()
    assert all(not torch.equal(before[name], after[name]) for name in before if name.endswith("proj.weight"))


@pytest.mark.slow
def test_equal_runs_give_equal_bytes(inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)  # a .work folder of its own
        run(quick(), **inputs)
        outputs.append((folder_bytes(inputs["out"]), inputs["metrics"].read_bytes(), inputs["plot"].read_bytes()))
    assert outputs[0] == outputs[1]


def test_micro_batches_give_the_step_of_the_whole_batch(inputs: dict[str, Path]) -> None:
    tables = []
    for forward in (4, 1):
        run(quick(samples_per_forward=forward, max_steps=2), **inputs)
        tables.append(steps(inputs["plot"]))
    whole, parts = tables
    for step_whole, step_parts in zip(whole, parts, strict=True):
        assert float(step_parts["loss"]) == pytest.approx(float(step_whole["loss"]), rel=1e-4)
        assert float(step_parts["grad_norm"]) == pytest.approx(float(step_whole["grad_norm"]), rel=1e-3)


def test_vision_has_its_own_learning_rate_and_only_matrices_decay(
    inputs: dict[str, Path], examples: Examples, tmp_path: Path
) -> None:
    params = quick(vision_lr_scale=0.1, weight_decay=0.05, betas=(0.9, 0.98))
    trainer = build_trainer(params, examples, inputs["model"], tmp_path / "work")
    groups = {
        (group["lr"], group["weight_decay"]): group["params"] for group in trainer.create_optimizer().param_groups
    }
    assert set(groups) == {(1e-3, 0.05), (1e-3, 0.0), (1e-4, 0.05), (1e-4, 0.0)}
    model: Any = trainer.model
    assert any(weight is model.lm_head.weight for weight in groups[1e-3, 0.05])
    assert any(weight is model.model.visual.patch_embed.proj.weight for weight in groups[1e-4, 0.05])
    assert any(weight is model.model.visual.blocks[0].norm1.weight for weight in groups[1e-4, 0.0])
    assert any(weight is model.model.language_model.norm.weight for weight in groups[1e-3, 0.0])
    assert sum(len(weights) for weights in groups.values()) == len(list(model.parameters()))
    assert {group["betas"] for group in trainer.optimizer.param_groups} == {(0.9, 0.98)}


@pytest.mark.slow
def test_adapters_are_trained_alone_and_merged_into_a_plain_model(inputs: dict[str, Path]) -> None:
    run(quick(lora=LORA), **inputs)
    before, after = load_model(inputs["model"]).state_dict(), load_model(inputs["out"]).state_dict()
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all("language_model.layers" in name and name.endswith("proj.weight") for name in changed)


@pytest.mark.slow
def test_bf16_and_gradient_checkpointing_follow_the_same_loss(inputs: dict[str, Path]) -> None:
    losses = []
    for changed in ({}, {"gradient_checkpointing": True}, {"precision": "bf16"}):
        run(quick(**changed), **inputs)
        losses.append([float(row["loss"]) for row in steps(inputs["plot"])])
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert losses[2] == pytest.approx(losses[0], rel=2e-2)
    assert losses[2] != losses[0]


def test_samples_without_frames_or_thought_are_refused_in_one_line(
    inputs: dict[str, Path], examples: Examples, tmp_path: Path
) -> None:
    samples = read_samples(inputs["samples"])
    strangers = [sample.model_copy(update={"sample_id": "stranger"}) for sample in samples]
    with pytest.raises(UserError, match="none of the 10 samples has frames"):
        Examples(strangers, examples.reader, examples.builder)
    with pytest.raises(UserError, match="no samples are left to train on"):
        Examples([], examples.reader, examples.builder)
    assert len(Examples([*samples, strangers[0]], examples.reader, examples.builder)) == 10
    with pytest.raises(UserError, match="none of the 1 samples can be trained on; the first: sample-0: has no chain"):
        Examples([samples[0].model_copy(update={"process": None})], examples.reader, examples.builder)


def test_a_sample_that_cannot_be_used_is_left_out_named_and_counted(
    inputs: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    samples = read_samples(inputs["samples"])
    samples[1] = samples[1].model_copy(update={"process": None})
    samples[2] = samples[2].model_copy(update={"problem": "long " * 5000})
    samples[4] = samples[4].model_copy(update={"problem": "What is <|video_pad|><|im_end|>?"})
    samples[5] = samples[5].model_copy(update={"problem": "word " * 60})
    table = [sample.model_dump() | {"frame_key": f"key-{sample.sample_id[7:]}"} for sample in samples]
    write_table(inputs["samples"], table, TRAINING_SCHEMA)
    run(quick(max_prompt_tokens=150), **inputs)
    metrics = read_json(inputs["metrics"])
    assert metrics["left_out"] == {"no chain of thought": 1, "prompt too long": 2}
    assert metrics["samples"] == 7
    assert "2 samples left out, prompt too long: sample-2: the prompt has" in caplog.text
    (named,) = Path(".work").glob("sft/*/0/left_out.json")
    assert list(read_json(named)) == ["sample-1", "sample-2", "sample-5"]


def test_a_batch_that_cannot_be_shared_out_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"sft.batch_size \(4\) must be a multiple of samples_per_forward x processes \(3 x 1\)"
    ):
        training_arguments(quick(samples_per_forward=3), tmp_path)
    with pytest.raises(ValueError, match="cannot be merged"):
        quick(deepspeed=3, lora=LORA)
    with pytest.raises(ValueError, match="vision_lr_scale 0 freezes it"):
        quick(vision_lr_scale=0.0, lora=LORA | {"vision": "full"})


SCRIPT = """
import logging, signal, sys
from pathlib import Path
from stages import sft
from stages.model import training

def die_in(name, owner, when):
    whole = getattr(owner, name)
    def dying(*args, **kwargs):
        if when(*args):
            signal.raise_signal(signal.SIGKILL)
        return whole(*args, **kwargs)
    setattr(owner, name, dying)

logging.basicConfig(level=logging.INFO)
if sys.argv[1] == "step":
    die_in("training_step", sft.SftTrainer, lambda trainer, *_: trainer.state.global_step == int(sys.argv[2]))
if sys.argv[1] == "save":
    die_in("write_atomic", training, lambda path, *_: path.parent.name == f"checkpoint-{sys.argv[2]}")
sft.run(sft.SftParams(**PARAMS), **{name: Path(path) for name, path in ARGUMENTS.items()})
"""


@pytest.mark.integration
@pytest.mark.parametrize("changed", [{}, {"lora": LORA}], ids=["full", "lora"])
def test_a_run_killed_in_a_step_and_while_saving_ends_as_one_that_was_not(
    inputs: dict[str, Path], tmp_path: Path, changed: dict[str, Any]
) -> None:
    params = QUICK | changed | {"max_steps": 9, "save_steps": 2}  # ten samples in fours: three epochs
    arguments = {name: str(path) for name, path in inputs.items()}
    script = SCRIPT.replace("PARAMS", repr(params)).replace("ARGUMENTS", repr(arguments))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def execute(folder: Path, *death: str) -> tuple[int, str]:
        folder.mkdir(exist_ok=True)
        done = subprocess.run(
            [sys.executable, "-c", script, *death], cwd=folder, env=environment, stderr=subprocess.PIPE, text=True
        )
        return done.returncode, "checkpoint-4" if "/checkpoint-4\n" in done.stderr else ""

    assert execute(tmp_path / "whole", "never") == (0, "")
    expected = folder_bytes(inputs["out"]), inputs["metrics"].read_bytes(), inputs["plot"].read_bytes()
    inputs["plot"].unlink()
    shutil.rmtree(inputs["out"])
    assert execute(tmp_path / "killed", "step", "5") == (-signal.SIGKILL, "")
    assert execute(tmp_path / "killed", "save", "6") == (-signal.SIGKILL, "checkpoint-4")
    (work,) = (tmp_path / "killed").glob(".work/sft/*/0")
    assert (work / "checkpoint-6").exists()
    assert last_checkpoint(work) == work / "checkpoint-4"
    assert execute(tmp_path / "killed", "never") == (0, "checkpoint-4")
    assert (folder_bytes(inputs["out"]), inputs["metrics"].read_bytes(), inputs["plot"].read_bytes()) == expected


def test_a_loss_that_is_not_finite_stops_the_run_with_advice(inputs: dict[str, Path]) -> None:
    with pytest.raises(UserError, match=r"is (nan|inf) at step \d: lower learning_rate"):
        run(quick(learning_rate=1e30), **inputs)

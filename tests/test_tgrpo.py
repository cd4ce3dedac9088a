import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from stages.data.sample import TRAINING_SCHEMA
from stages.model.adapters import Lora
from stages.model.inputs import PromptBuilder
from stages.model.load import load_model, resolve, save_model
from stages.rl.guards import Guards
from stages.rl.loss import LossParams
from stages.run.errors import UserError
from stages.run.files import write_table
from stages.tgrpo import COLUMNS, TgrpoParams, run
from tests.conftest import ROOT
from tests.model.tiny_models import clip, picture, question, write_qwen2_5, write_qwen3
from tests.rl.conftest import write_frames

SMALL = TgrpoParams(
    group_size=4,
    contrast_size=2,
    max_new_tokens=16,
    top_p=1.0,
    freeze_vision=True,
    questions_per_step=2,
    questions_per_forward=2,
    max_steps=4,
    learning_rate=1e-3,
    schedule="constant",
    warmup_steps=1,
    precision="fp32",
    gradient_checkpointing=False,
    save_steps=2,
    seed=5,
)


def write_training_set(path, samples):
    """The samples with the keys that `write_frames` gives them."""
    write_table(path, [sample.model_dump() | {"frame_key": sample.sample_id} for sample in samples], TRAINING_SCHEMA)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Three clips and an image of noise, and a model that has learnt the format of an answer and guesses between A and B."""
    root = tmp_path_factory.mktemp("tgrpo")
    samples = [question(f"clip-{n}", answer="AB"[n % 2]) for n in range(3)] + [
        question("image", data_type="image", answer="A")
    ]
    media = [clip(seed=n) for n in range(3)] + [picture()]
    write_frames(root, {sample.sample_id: frames for sample, frames in zip(samples, media, strict=True)})
    write_training_set(root / "rl.parquet", samples)
    write_qwen2_5(root / "random")
    model, builder = load_model(root / "random"), PromptBuilder(root / "random")
    prompts = [builder(sample, frames) for sample, frames in zip(samples, media, strict=True)]
    targets = [builder.completion_ids(f"<think>it</think>\n<answer>{letter}</answer>") for letter in "AB"]
    batch = builder.normalised(builder.batch(prompts * 2, [targets[0]] * 4 + [targets[1]] * 4))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(40):
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    save_model(model, resolve(root / "random"), root / "sft")
    return root


def train(params, inputs, out):
    run(
        params,
        samples=inputs / "rl.parquet",
        frame_store=inputs / "frames",
        model=inputs / "sft",
        out=out / "model",
        metrics=out / "metrics.json",
        plot=out / "plot.csv",
        rollouts=out / "rollouts.parquet",
    )


def rows(out):
    return list(csv.DictReader((out / "plot.csv").open()))


def test_a_run_writes_a_model_figures_for_every_step_and_rollouts_with_their_reward_parts(
    inputs, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    train(SMALL, inputs, tmp_path)
    figures = rows(tmp_path)
    assert [row["step"] for row in figures] == ["1", "2", "3", "4"]
    assert list(figures[0]) == list(COLUMNS)
    assert float(figures[0]["format"]) > 0.5
    assert any(float(row["grad_norm"]) > 1e-3 for row in figures)
    assert float(figures[0]["kl"]) == pytest.approx(0.0, abs=1e-6)  # the policy starts as the reference
    kept = pq.read_table(tmp_path / "rollouts.parquet").to_pylist()
    assert {row["order"] for row in kept} == {"ordered", "shuffle"}
    assert [row["step"] for row in kept] == sorted(row["step"] for row in kept)
    assert json.loads((tmp_path / "metrics.json").read_text())["steps"] == 4
    before, after = (load_file(path / "model.safetensors") for path in (inputs / "sft", tmp_path / "model"))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert not any(".visual." in name for name in moved)


@pytest.mark.slow
def test_the_same_run_gives_the_same_bytes(inputs, tmp_path, monkeypatch):
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
    "vision trained, checkpointing": {"freeze_vision": False, "gradient_checkpointing": True},
    "no reference": {"loss": LossParams(beta=0.0)},
    "bf16": {"precision": "bf16"},
}


@pytest.mark.slow
@pytest.mark.parametrize("change", RECIPES.values(), ids=RECIPES.keys())
def test_every_recipe_trains(inputs, tmp_path, monkeypatch, change):
    monkeypatch.chdir(tmp_path)
    train(SMALL.model_copy(update=change | {"max_steps": 2}), inputs, tmp_path)
    assert len(rows(tmp_path)) == 2
    before, after = (load_file(path / "model.safetensors") for path in (inputs / "sft", tmp_path / "model"))
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name].float()) for name in before)


def test_qwen3_vl_trains_on_videos_and_images(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    samples = [question("clip"), question("image", data_type="image")]
    write_frames(tmp_path, {"clip": clip(), "image": picture()})
    write_training_set(tmp_path / "rl.parquet", samples)
    write_qwen3(tmp_path / "sft")
    train(
        SMALL.model_copy(update={"max_steps": 2, "freeze_vision": False, "gradient_checkpointing": True}),
        tmp_path,
        tmp_path,
    )
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("sft", "model"))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert any("visual" in name for name in moved)
    assert any("language_model" in name for name in moved)


def alone(change, inputs, folder, monkeypatch):
    """The figures of a run in a folder of its own, by step."""
    folder.mkdir()
    monkeypatch.chdir(folder)
    train(SMALL.model_copy(update=change), inputs, folder)
    return rows(folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["grpo", "dapo", "dr_grpo", "cispo"])
def test_the_gradient_of_a_step_does_not_depend_on_how_it_is_cut_into_forwards(inputs, tmp_path, monkeypatch, name):
    change = {"loss": LossParams(name=name), "max_steps": 1}
    norms = [
        float(
            alone(change | {"questions_per_forward": size}, inputs, tmp_path / str(size), monkeypatch)[0]["grad_norm"]
        )
        for size in (1, 2)
    ]
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)
    assert norms[0] > 0


@pytest.mark.slow
def test_the_updates_of_a_rollout_share_its_responses_and_move_away_from_it(inputs, tmp_path, monkeypatch):
    change = {
        "updates_per_rollout": 2,
        "warmup_steps": 0,
        "max_steps": 4,
        "loss": LossParams(clip_low=0.1, clip_high=0.3),
    }
    first, second, third, _ = alone(change, inputs, tmp_path / "run", monkeypatch)
    assert (first["reward"], first["p_contrast"]) == (second["reward"], second["p_contrast"])
    assert first["reward"] != third["reward"]
    assert float(first["kl"]) == pytest.approx(0.0, abs=1e-6)
    assert float(second["kl"]) > 1e-6


@pytest.mark.slow
def test_the_moving_std_follows_the_rewards_that_it_scales(inputs, tmp_path, monkeypatch):
    # In mode advantage r_t is added after scaling, so its weight must not reach the std.
    change = {"scale": "ema", "temporal": "advantage", "max_steps": 1, "save_steps": 1}
    kept = []
    for alpha in (0.0, 50.0):
        alone(change | {"alpha": alpha}, inputs, tmp_path / str(alpha), monkeypatch)
        (file,) = (tmp_path / str(alpha)).glob(".work/tgrpo/*/*/checkpoint-1/complete.json")
        kept.append(json.loads(file.read_text())["ema"])
    assert kept[0] == kept[1]
    assert kept[0]["multiple choice"] > 0


FOUR = {
    "questions_per_step": 4,
    "questions_per_forward": 4,
    "max_steps": 1,
    "temporal": "off",
    "contrast_size": 0,
    "omega": 0.0,
}


@pytest.mark.slow
def test_groups_without_variance_are_skipped_and_counted(inputs, tmp_path, monkeypatch):
    # Without a KL term they have no gradient, so leaving them out of the mean over rows only makes it larger.
    change = FOUR | {"loss": LossParams(beta=0.0), "group_size": 2}
    (whole,) = alone(change, inputs, tmp_path / "whole", monkeypatch)
    (skipping,) = alone(change | {"dynamic_sampling": "skip"}, inputs, tmp_path / "skip", monkeypatch)
    skipped = int(skipping["skipped"])
    assert 0 < skipped < 4
    assert (whole["skipped"], skipping["resampled"]) == ("0", "0")
    assert float(whole["zero_variance"]) == skipped / 4
    assert float(skipping["grad_norm"]) == pytest.approx(float(whole["grad_norm"]) * 4 / (4 - skipped), rel=1e-4)


@pytest.mark.slow
def test_groups_without_variance_are_replaced_by_other_questions_and_counted(inputs, tmp_path, monkeypatch):
    change = FOUR | {"questions_per_step": 2, "questions_per_forward": 1, "max_steps": 6}
    kept = alone(change, inputs, tmp_path / "kept", monkeypatch)
    resampling = alone(change | {"dynamic_sampling": "resample"}, inputs, tmp_path / "resample", monkeypatch)
    again = alone(change | {"dynamic_sampling": "resample"}, inputs, tmp_path / "again", monkeypatch)
    assert resampling == again
    assert sum(int(row["resampled"]) for row in resampling) > 0
    assert sum(float(row["zero_variance"]) for row in resampling) < sum(float(row["zero_variance"]) for row in kept)


def test_every_figure_of_every_step_goes_to_a_file_beside_the_checkpoints(inputs, tmp_path, monkeypatch):
    folder = tmp_path / "run"
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
        assert all(row["seconds_rollout"] > 0 and row["tokens_per_second"] > 0 for row in figures)


@pytest.mark.slow
def test_every_figure_of_every_step_goes_to_tensorboard(inputs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train(SMALL.model_copy(update={"report_to": "tensorboard"}), inputs, tmp_path)
    (folder,) = tmp_path.glob(".work/tgrpo/*/*/runs/*")
    events = EventAccumulator(str(folder)).Reload()
    with open(tmp_path / "plot.csv", newline="") as file:
        expected = [float(row["reward"]) for row in csv.DictReader(file)]
    assert [event.step for event in events.Scalars("train/reward")] == [1, 2, 3, 4]
    assert [event.value for event in events.Scalars("train/reward")] == pytest.approx(expected)
    assert {f"train/{name}" for name in (*COLUMNS[1:], "tokens_per_second")} <= set(events.Tags()["scalars"])


def test_a_tracker_that_is_not_installed_is_named(inputs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="report_to names mlflow, which is not installed: pip install mlflow"):
        train(SMALL.model_copy(update={"report_to": "mlflow"}), inputs, tmp_path)


def test_a_tripped_guard_stops_the_run_with_advice_and_leaves_the_checkpoint(inputs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    guards = Guards(window=3, max_truncated=0.5, max_zero_variance=1.0, min_format=0.0)
    with pytest.raises(UserError, match=r"100% of the responses were cut off .* raise tgrpo.max_new_tokens"):
        train(SMALL.model_copy(update={"guards": guards, "max_new_tokens": 1}), inputs, tmp_path)
    assert [path.name for path in Path(".work/tgrpo").glob("*/*/checkpoint-*")] == ["checkpoint-2"]


def test_a_loss_that_is_not_finite_stops_the_run_with_advice(inputs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"is (nan|inf) at step \d: lower learning_rate"):
        train(SMALL.model_copy(update={"learning_rate": 1e30, "save_steps": 1}), inputs, tmp_path)
    kept = list(Path(".work/tgrpo").glob("*/*/checkpoint-*/model.safetensors"))
    assert kept
    assert all(weight.isfinite().all() for path in kept for weight in load_file(path).values())


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(ValidationError, match="nothing to compare with"):
        TgrpoParams(contrast_size=0)
    with pytest.raises(ValidationError, match="multiple of updates_per_rollout"):
        TgrpoParams(updates_per_rollout=3, save_steps=50)
    with pytest.raises(ValidationError, match="set omega 0"):
        TgrpoParams(length_min=512, length_max=320)
    with pytest.raises(ValidationError, match="freeze_vision"):
        TgrpoParams(lora=Lora())


def test_questions_that_cannot_be_shared_out_evenly_are_refused(inputs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="must be a multiple of questions_per_forward x processes"):
        train(SMALL.model_copy(update={"questions_per_step": 3}), inputs, tmp_path)


def test_shards_of_a_trained_vision_tower_refuse_videos_and_images_together(inputs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WORLD_SIZE", "2")
    params = SMALL.model_copy(update={"deepspeed": 3, "freeze_vision": False})
    with pytest.raises(UserError, match=r"videos and images together on several processes: set tgrpo\.deepspeed to 2"):
        train(params, inputs, tmp_path)


@pytest.mark.slow
def test_a_finished_run_that_is_started_again_writes_the_same_files(inputs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train(SMALL, inputs, tmp_path)
    first = {
        file: (tmp_path / file).read_bytes()
        for file in ("plot.csv", "metrics.json", "rollouts.parquet", "model/model.safetensors")
    }
    train(SMALL, inputs, tmp_path)
    assert first == {file: (tmp_path / file).read_bytes() for file in first}


def start(params, inputs, folder, *launcher, **environment):
    """The stage as a process of its own in `folder`, as DVC starts it."""
    folder.mkdir(exist_ok=True)
    (folder / "params.yaml").write_text(json.dumps({"tgrpo": params.model_dump()}))
    flags = {"samples": inputs / "rl.parquet", "frame_store": inputs / "frames", "model": inputs / "sft"}
    flags |= {
        name: folder / file for name, file in {"out": "model", "metrics": "metrics.json", "plot": "plot.csv"}.items()
    }
    flags["rollouts"] = folder / "rollouts.parquet"
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            *(launcher or ("stages.tgrpo",)),
            *(part for name, path in flags.items() for part in (f"--{name.replace('_', '-')}", str(path))),
        ],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | environment,
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    _, errors = process.communicate(timeout=500)
    assert process.returncode == 0, errors[-4000:]


def kill_after_checkpoint(process, folder, step):
    """SIGKILL the whole session as soon as the checkpoint of `step` is whole."""
    while not list(folder.glob(f".work/tgrpo/*/*/checkpoint-{step}/complete.json")):
        assert process.poll() is None, process.communicate()[1][-4000:]
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


@pytest.mark.integration
def test_a_run_killed_twice_ends_like_one_that_was_not(inputs, tmp_path):
    params = SMALL.model_copy(update={"max_steps": 10, "scale": "ema", "updates_per_rollout": 2})
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    for step in (2, 6):
        kill_after_checkpoint(start(params, inputs, killed), killed, step)
        assert not (killed / "model").exists()
    finish(start(params, inputs, killed))
    finish(start(params, inputs, whole))
    for file in ("plot.csv", "metrics.json", "rollouts.parquet", "model/model.safetensors"):
        assert (killed / file).read_bytes() == (whole / file).read_bytes(), file
    assert len(rows(whole)) == 10


@pytest.mark.integration
@pytest.mark.parametrize("stage", [2, 3])
def test_two_deepspeed_processes_train_resume_and_agree_with_one_plain_process(inputs, tmp_path, stage):
    params = SMALL.model_copy(update={"questions_per_forward": 1, "deepspeed": stage})
    two = ("stages.launch", "--processes", "2", "tgrpo")
    killed, whole, plain = tmp_path / "killed", tmp_path / "whole", tmp_path / "plain"
    kill_after_checkpoint(start(params, inputs, killed, *two), killed, 2)
    finish(start(params, inputs, killed, *two))
    finish(start(params, inputs, whole, *two))
    finish(start(params.model_copy(update={"deepspeed": None}), inputs, plain))
    for file in ("plot.csv", "metrics.json", "rollouts.parquet", "model/model.safetensors"):
        assert (killed / file).read_bytes() == (whole / file).read_bytes(), file
    for column in ("reward", "loss", "kl", "entropy", "grad_norm", "p", "p_contrast", "completion_tokens"):
        together, alone = ([float(row[column] or "nan") for row in rows(folder)] for folder in (whole, plain))
        assert together == pytest.approx(alone, rel=1e-3, abs=1e-5, nan_ok=True), column
    weights = [load_file(folder / "model" / "model.safetensors") for folder in (whole, plain)]
    assert weights[0].keys() == weights[1].keys()

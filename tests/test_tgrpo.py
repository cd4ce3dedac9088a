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

from stages.data.errors import UserError
from stages.data.files import write_table
from stages.data.sample import write_samples
from stages.data.shards import ShardStore
from stages.model.lora import Lora
from stages.rl.guards import Guards
from stages.rl.loss import LossRules
from stages.rl.rewards import RewardRules
from stages.tgrpo import COLUMNS, TgrpoParams, run
from stages.video.frame_store import SCHEMA, TABLE_SCHEMA, row_from_frames
from tests.model.tiny_models import clip, picture, question, write_qwen2_5

# A random model is never right, never well formed and always cut off: only the guards' patience is changed for it.
PATIENT = Guards(max_truncated=1.0, max_zero_variance=1.0, min_format=0.0)
SMALL = TgrpoParams(
    group_size=3,
    contrast_size=2,
    max_new_tokens=6,
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
    guards=PATIENT,
    seed=5,
)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Three clips and an image of noise with free-form answers, so that chance alone gives rewards of many levels."""
    root = tmp_path_factory.mktemp("tgrpo")
    samples = [question(f"clip-{n}", answer="a b c d e t") for n in range(3)] + [question("image", data_type="image", answer="e t a")]
    media = [clip(seed=n) for n in range(3)] + [picture()]
    samples = [sample.model_copy(update={"problem_type": "free-form", "options": ()}) for sample in samples]
    ShardStore(root / "frames", SCHEMA).append(
        [row_from_frames(sample.sample_id, frames, 95) for sample, frames in zip(samples, media, strict=True)]
    )
    write_table(root / "frames.parquet", [{"sample_id": s.sample_id, "key": s.sample_id} for s in samples], TABLE_SCHEMA)
    write_samples(root / "rl.parquet", samples)
    write_qwen2_5(root / "sft")
    return root


def train(params, inputs, out):
    run(
        params,
        samples=inputs / "rl.parquet",
        frames=inputs / "frames",
        table=inputs / "frames.parquet",
        model=inputs / "sft",
        out=out / "model",
        metrics=out / "metrics.json",
        plot=out / "plot.csv",
        rollouts=out / "rollouts.parquet",
    )


def rows(out):
    return list(csv.DictReader((out / "plot.csv").open()))


def test_a_run_writes_a_model_figures_for_every_step_and_rollouts_with_their_reward_parts(inputs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train(SMALL, inputs, tmp_path)
    figures = rows(tmp_path)
    assert [row["step"] for row in figures] == ["1", "2", "3", "4"]
    assert list(figures[0]) == list(COLUMNS)
    assert float(figures[0]["kl"]) == pytest.approx(0.0, abs=1e-6)  # the policy starts as the reference
    kept = pq.read_table(tmp_path / "rollouts.parquet").to_pylist()
    assert {row["order"] for row in kept} == {"ordered", "shuffle"}
    assert [row["step"] for row in kept] == sorted(row["step"] for row in kept)
    assert json.loads((tmp_path / "metrics.json").read_text())["steps"] == 4
    before, after = (load_file(path / "model.safetensors") for path in (inputs / "sft", tmp_path / "model"))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert not any(".visual." in name for name in moved)

"""Small runs of the stage tgrpo."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch

from stages.data.sample import TRAINING_SCHEMA, Sample
from stages.model.inputs import PromptBuilder
from stages.model.load import load_model, resolve
from stages.model.save import save_model
from stages.run.files import write_table
from stages.tgrpo import TgrpoParams, run
from tests.model.tiny_models import WRITERS, clip, picture, question
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


def write_training_set(path: Path, samples: Sequence[Sample]) -> None:
    """The samples with the keys that `write_frames` gives them."""
    write_table(path, [sample.model_dump() | {"frame_key": sample.sample_id} for sample in samples], TRAINING_SCHEMA)


def write_inputs(root: Path, family: str = "qwen2_5_vl") -> Path:
    """Three clips, an image, and a model that guesses A or B.

    The media are noise. The model knows the format of an answer.
    """
    samples = [question(f"clip-{n}", answer="AB"[n % 2]) for n in range(3)] + [
        question("image", data_type="image", answer="A")
    ]
    media = [clip(seed=n) for n in range(3)] + [picture()]
    write_frames(root, {sample.sample_id: frames for sample, frames in zip(samples, media, strict=True)})
    write_training_set(root / "rl.parquet", samples)
    WRITERS[family](root / "random")
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


def train(params: TgrpoParams, inputs: Path, out: Path) -> None:
    """Run the stage."""
    run(
        params,
        samples=inputs / "rl.parquet",
        frame_store=inputs / "frames",
        model=inputs / "sft",
        out=out / "model",
        metrics=out / "metrics.json",
        headline=out / "headline.json",
        plot=out / "plot.csv",
        rollouts=out / "rollouts.parquet",
    )


def rows(out: Path) -> list[dict[str, str]]:
    """The figures of a run, by step."""
    return list(csv.DictReader((out / "plot.csv").open()))


def alone(
    change: Mapping[str, object], inputs: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> list[dict[str, str]]:
    """The figures of a run in a new folder, by step."""
    folder.mkdir()
    monkeypatch.chdir(folder)
    train(SMALL.model_copy(update=change), inputs, folder)
    return rows(folder)

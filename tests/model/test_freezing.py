"""A frozen vision tower leaves nothing for the backward pass."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from stages.data.sample import read_samples
from stages.model.examples import Examples
from stages.model.families import FAMILIES
from stages.model.inputs import PromptBuilder
from stages.sft import build_trainer
from stages.video.frame_store import FrameReader
from tests.sft_inputs import LORA, quick, write_inputs


def saved_in_vision(model: Any, step: Any) -> list[torch.Size]:
    """Shapes that the vision tower saves for backward while `step` runs."""
    saved: list[torch.Size] = []
    inside: list[bool] = []

    def keep(tensor: Tensor) -> Tensor:
        if inside:
            saved.append(tensor.shape)
        return tensor

    vision = model.visual
    hooks = [
        vision.register_forward_pre_hook(lambda *_: inside.append(True)),
        vision.register_forward_hook(lambda *_: inside.clear()),
    ]
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        step()
    for hook in hooks:
        hook.remove()
    return saved


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("how", [{"lora": LORA}, {"vision_lr_scale": 0.0}, {"lora": LORA, "tokens_per_forward": 400}])
def test_training_saves_nothing_of_a_frozen_tower(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str, how: dict[str, Any]
) -> None:
    saved, trained = saved_while_training(tmp_path, monkeypatch, family, how)
    assert trained
    assert saved == []


def test_training_saves_the_tower_that_it_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved, _ = saved_while_training(tmp_path, monkeypatch, "qwen2_5_vl", {})
    assert saved


def saved_while_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str, how: dict[str, Any]
) -> tuple[list[torch.Size], bool]:
    """What the tower saves in a step, and whether it has gradients."""
    monkeypatch.chdir(tmp_path)
    inputs = write_inputs(tmp_path, family)
    params = quick(max_steps=1, gradient_checkpointing=True, **({"samples_per_forward": 1} | how))
    reader = FrameReader(inputs["frame_store"], inputs["samples"])
    examples = Examples(read_samples(inputs["samples"]), reader, PromptBuilder(inputs["model"]))
    trainer = build_trainer(params, examples, inputs["model"], tmp_path / "work")
    whole: Any = trainer.model
    model = whole.get_base_model() if "lora" in how else whole
    saved = saved_in_vision(model.model, trainer.train)
    return saved, trainer.state.log_history[0]["grad_norm"] > 0

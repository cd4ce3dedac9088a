"""Bytes of the 7B model by hand, of a tiny one by measurement."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.modeling_utils import PreTrainedModel

from stages.model.inputs import Prompt
from stages.model.load import load_config
from stages.planning import memory
from stages.planning.memory import Training
from stages.planning.size import ModelSize, model_size
from stages.planning.work import Shape
from stages.rl.scoring import Packed, pack, score, use_group_prefix_attention
from tests.planning.configs import QWEN2_5_VL_7B
from tests.rl.conftest import tiny_media, tiny_model, tiny_prompt

TOTAL = 8_292_166_656
PLAIN = Training(precision="fp32", zero=None, lora_rank=None, freeze_vision=True, checkpointing=False, processes=1)


@pytest.fixture
def seven_b(tmp_path: Path) -> ModelSize:
    (tmp_path / "config.json").write_text(json.dumps(QWEN2_5_VL_7B))
    return model_size(load_config(tmp_path))


def test_states_of_the_7b_model_under_zero_2_on_8_gpus(seven_b: ModelSize) -> None:
    how = Training("bf16", 2, None, freeze_vision=False, checkpointing=True, processes=8)
    found = memory.states(seven_b, how, reference=True)
    assert found["weights"] == found["reference and sampler"] == 2 * TOTAL
    assert found["gradients"] == 2 * TOTAL / 8 + 2 * 10**9  # and two buckets of 5e8 bf16 elements
    assert found["optimizer"] == 12 * TOTAL / 8


def test_adapters_leave_the_frozen_weights_and_little_else(seven_b: ModelSize) -> None:
    how = Training("bf16", None, 16, freeze_vision=True, checkpointing=True, processes=1)
    # Inputs and outputs of the linear layers: q and o 2 · 3584, k and v 3584 + 512, three of 3584 + 18944
    adapters = 16 * 28 * (2 * 7168 + 2 * 4096 + 3 * 22528)
    found = memory.states(seven_b, how, reference=False)
    assert found == {
        "weights": 2 * TOTAL + 4 * adapters,
        "reference and sampler": 0,
        "gradients": 4 * adapters,
        "optimizer": 8 * adapters,
    }


def test_cache_and_logits_of_the_7b_model(seven_b: ModelSize) -> None:
    how = Training("bf16", 2, None, freeze_vision=False, checkpointing=True, processes=8)
    per_token = 2 * 28 * 4 * 128 * 2  # keys and values, layers, heads, width, bytes
    assert memory.cache(seven_b, how, prompts=2, prompt=1000, rows=0, completion=0) == 2000 * per_token
    assert memory.cache(seven_b, how, 0, 0, rows=12, completion=100) == 2400 * per_token + 12 * 152064 * 24
    assert memory.logits(seven_b, how, tokens=6144) == 152064 * (2 * 6144 + 3072)


def saved_bytes(model: PreTrainedModel, packed: Packed, media: Mapping[str, Any]) -> int:
    """Bytes beside weights that a forward keeps for its backward pass."""
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    saved = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            saved[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        score(model, packed, media, 1.0)
    return sum(size for size, _ in saved.values())


@pytest.mark.parametrize(("prompt", "group", "completion"), [(60, 4, 40), (200, 8, 20), (40, 2, 90)])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_activations_are_what_a_forward_of_the_tiny_model_keeps(
    prompt: int, group: int, completion: int, checkpointing: bool
) -> None:
    model = tiny_model("qwen2_5_vl").train()
    model.model.visual.requires_grad_(False)
    use_group_prefix_attention(model)
    if checkpointing:
        model.activation_checkpointing_enable()
    asked = tiny_prompt("image", 2, prompt - 6, seed=1)
    packed = pack([asked], [[torch.arange(completion) % 90 for _ in range(group)]])
    size = model_size(model.config)
    kept = saved_bytes(model, packed, tiny_media([asked])) - size.vocabulary * group * completion * 4  # without logits
    shape = Shape(prompt, 4, 1, completion)
    how = Training("fp32", None, None, freeze_vision=True, checkpointing=checkpointing, processes=1)
    layer = memory.layer_bytes(size, how, prompt + group * completion, prompt, group, completion)
    expected = (
        memory.activations(size, how, shape, 1, group) - (2 if checkpointing else 1) * layer
    )  # the layer in the backward pass
    assert kept == pytest.approx(expected, rel=0.1)


def test_states_are_the_bytes_of_a_real_optimizer_step() -> None:
    model = tiny_model("qwen2_5_vl")
    size = model_size(model.config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    asked = tiny_prompt("video", 3, 4, seed=1)
    (-score_of(model, asked)).backward()
    optimizer.step()
    gradients = sum(weight.grad.nbytes for weight in model.parameters() if weight.grad is not None)
    moments = sum(
        value.nbytes
        for state in optimizer.state.values()
        for name, value in state.items()
        if name.startswith("exp_avg")
    )
    how = Training("fp32", None, None, freeze_vision=False, checkpointing=False, processes=1)
    found = memory.states(size, how, reference=False)
    assert found["weights"] == sum(weight.nbytes for weight in model.parameters())
    assert (found["gradients"], found["optimizer"]) == (gradients, moments)


def score_of(model: PreTrainedModel, prompt: Prompt) -> Tensor:
    use_group_prefix_attention(model)
    return score(model, pack([prompt], [[torch.tensor([1, 2])]]), tiny_media([prompt]), 1.0).logps_RC.sum()

"""Bytes of the 7B model by hand, of small ones by measurement."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from transformers.modeling_utils import PreTrainedModel
from transformers.models.auto.configuration_auto import AutoConfig
from transformers.models.auto.modeling_auto import AutoModelForImageTextToText

from stages.model.adapters import Lora, add_lora
from stages.model.attention import Segments, use_packed_attention
from stages.model.families import FAMILIES
from stages.model.freezing import freeze_vision
from stages.model.inputs import Prompt, PromptBuilder
from stages.model.load import load_config, load_model
from stages.model.vision import encode
from stages.planning import memory
from stages.planning.memory import Training
from stages.planning.size import ModelSize, model_size
from stages.rl.scoring import pack, score, use_group_prefix_attention
from tests.model.tiny_models import clip, question
from tests.planning.configs import QWEN2_5_VL_7B
from tests.rl.conftest import tiny_media, tiny_model, tiny_prompt

TOTAL = 8_292_166_656
PLAIN = Training(precision="fp32", zero=None, lora_rank=None, vision="frozen", checkpointing=False, processes=1)


@pytest.fixture
def seven_b(tmp_path: Path) -> ModelSize:
    (tmp_path / "config.json").write_text(json.dumps(QWEN2_5_VL_7B))
    return model_size(load_config(tmp_path))


def test_states_of_the_7b_model_under_zero_2_on_8_gpus(seven_b: ModelSize) -> None:
    how = Training("bf16", 2, None, vision="full", checkpointing=True, processes=8)
    found = memory.states(seven_b, how, reference=True)
    assert found["weights"] == found["reference and sampler"] == 2 * TOTAL
    assert found["gradients"] == 2 * TOTAL / 8 + 2 * 10**9  # and two buckets of 5e8 bf16 elements
    assert found["optimizer"] == 12 * TOTAL / 8


def test_adapters_leave_the_frozen_weights_and_little_else(seven_b: ModelSize) -> None:
    how = Training("bf16", None, 16, vision="frozen", checkpointing=True, processes=1)
    # Inputs and outputs of the linear layers: q and o 2 · 3584, k and v 3584 + 512, three of 3584 + 18944
    adapters = 16 * 28 * (2 * 7168 + 2 * 4096 + 3 * 22528)
    found = memory.states(seven_b, how, reference=False)
    assert found == {
        "weights": 2 * TOTAL + 4 * adapters,
        "reference and sampler": 0,
        "gradients": 4 * adapters,
        "optimizer": 8 * adapters,
    }


def test_a_tower_that_is_trained_beside_adapters_has_fp32_weights_gradients_and_moments(seven_b: ModelSize) -> None:
    adapters, vision = 16 * 28 * (2 * 7168 + 2 * 4096 + 3 * 22528), seven_b.vision
    how = Training("bf16", None, 16, vision="full", checkpointing=True, processes=1)
    found = memory.states(seven_b, how, reference=False)
    assert found["weights"] == 2 * TOTAL + 4 * (adapters + vision)
    assert found["optimizer"] == 2 * found["gradients"] == 8 * (adapters + vision)
    with_adapters = memory.states(seven_b, replace(how, vision="adapters"), reference=False)
    assert with_adapters["gradients"] == 4 * (adapters + 16 * seven_b.vision_adapter)


def test_cache_and_logits_of_the_7b_model(seven_b: ModelSize) -> None:
    how = Training("bf16", 2, None, vision="full", checkpointing=True, processes=8)
    per_token = 2 * 28 * 4 * 128 * 2  # keys and values, layers, heads, width, bytes
    assert memory.cache(seven_b, how, prompts=2, prompt=1000, rows=0, completion=0) == 2000 * per_token
    assert memory.cache(seven_b, how, 0, 0, rows=12, completion=100) == 1200 * per_token + 12 * 152064 * 24
    assert memory.logits(seven_b, how, tokens=6144) == 152064 * (2 * 6144 + 3072)


def test_a_layer_of_linear_attention_has_a_state_for_each_prompt_and_row_whatever_their_length() -> None:
    size = model_size(tiny_model("qwen3_5").config)
    how = Training("bf16", 2, None, vision="full", checkpointing=True, processes=8)
    # One layer of each kind. A state is 4 heads of 8 x 16 in fp32, and 4 tokens of 2 x 16 + 64 channels in bf16.
    keys_and_values, state = 2 * 2 * 8 * 2, 4 * 8 * 16 * 4 + 4 * 96 * 2
    found = memory.cache(size, how, prompts=3, prompt=1000, rows=12, completion=100)
    assert found == keys_and_values * (3000 + 1200) + state * 15 + 12 * size.vocabulary * memory.DRAW_BYTES


def saved_bytes(model: nn.Module, forward: Callable[[], object]) -> int:
    """Bytes beside weights that a forward keeps for its backward pass."""
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    saved = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            saved[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        forward()
    return sum(size for size, _ in saved.values())


@pytest.mark.parametrize(("prompt", "group", "completion"), [(60, 4, 40), (200, 8, 20), (40, 2, 90)])
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_activations_are_what_a_forward_of_the_tiny_model_keeps(
    prompt: int, group: int, completion: int, checkpointing: bool, family: str
) -> None:
    model = tiny_model(family).train()
    model.model.visual.requires_grad_(False)
    use_group_prefix_attention(model)
    if checkpointing:
        model.activation_checkpointing_enable()
    asked = tiny_prompt("image", 2, prompt - 6, seed=1)
    packed = pack([asked], [[torch.arange(completion) % 90 for _ in range(group)]])
    size = model_size(model.config)
    logits = size.vocabulary * group * completion * 4
    kept = saved_bytes(model, lambda: score(model, packed, tiny_media([asked]), 1.0)) - logits
    how = Training("fp32", None, None, vision="frozen", checkpointing=checkpointing, processes=1)
    tokens, attention = prompt + group * completion, memory.grouped_attention(size, prompt, group, completion)
    scanned = memory.scanned(prompt, group, completion)
    of_backward = (2 if checkpointing else 1) * memory.largest_layer(size, how, tokens, attention, scanned)
    expected = memory.activations(size, how, tokens, attention, patches=0, scanned=scanned) - of_backward
    assert kept == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_activations_are_what_a_packed_row_keeps_with_adapters_under_autocast(checkpointing: bool) -> None:
    config = load_small_config()
    model = AutoModelForImageTextToText.from_config(config).bfloat16()
    freeze_vision(model)
    use_packed_attention(model)
    adapted = add_lora(model, Lora(rank=1, alpha=1)).train()
    if checkpointing:
        adapted.activation_checkpointing_enable()
    lengths, predicted = [160, 96], 50
    tokens = sum(lengths)
    row = {
        "input_ids": torch.arange(tokens)[None] % 90 + 10,
        "position_ids": torch.cat([torch.arange(length) for length in lengths]).expand(3, 1, -1),
        "segments": Segments.of(lengths),
        "logits_to_keep": torch.arange(tokens - predicted, tokens),
        "use_cache": False,
    }

    def forward() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            adapted(**row)

    size = model_size(config)
    attention = memory.packed_attention(size, tokens)
    how = Training("bf16", None, 1, vision="frozen", checkpointing=checkpointing, processes=1)
    of_backward = (2 if checkpointing else 1) * memory.layer_bytes(size, how, tokens, attention)
    expected = memory.activations(size, how, tokens, attention, patches=0) - of_backward
    assert saved_bytes(adapted, forward) == pytest.approx(expected, rel=0.1)


def load_small_config() -> Any:
    """The 7B model's config with fewer and narrower layers."""
    text = {"hidden_size": 256, "intermediate_size": 1376, "num_hidden_layers": 10, "num_attention_heads": 4}
    rope = {"type": "mrope", "mrope_section": [8, 12, 12]}
    vision = QWEN2_5_VL_7B["vision_config"] | {"depth": 1, "hidden_size": 64, "num_heads": 2, "out_hidden_size": 256}
    changes = text | {"num_key_value_heads": 1, "vocab_size": 100, "rope_scaling": rope, "vision_config": vision}
    tokens = {"image_token_id": 1, "video_token_id": 2, "vision_start_token_id": 3, "vision_end_token_id": 4}
    return AutoConfig.for_model(**cast(dict[str, Any], QWEN2_5_VL_7B | changes | tokens))


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
    how = Training("fp32", None, None, vision="full", checkpointing=False, processes=1)
    found = memory.states(size, how, reference=False)
    assert found["weights"] == sum(weight.nbytes for weight in model.parameters())
    assert (found["gradients"], found["optimizer"]) == (gradients, moments)


def score_of(model: PreTrainedModel, prompt: Prompt) -> Tensor:
    use_group_prefix_attention(model)
    return score(model, pack([prompt], [[torch.tensor([1, 2])]]), tiny_media([prompt]), 1.0).logps_RC.sum()


def test_kept_features_are_the_bytes_that_the_cache_holds_up_to_its_budget(model_dir: Path) -> None:
    model, builder, size = load_model(model_dir), PromptBuilder(model_dir), model_size(load_config(model_dir))
    prompt = builder(question("a"), clip())
    (kept,) = encode(model, builder, [prompt])
    tokens = len(kept.merged_NH)
    assert memory.features(size, PLAIN, 1.0, clips=3, visual=tokens) == 3 * kept.size
    assert memory.features(size, PLAIN, 1.0, clips=1e9, visual=tokens) == 2**30
    assert memory.features(size, replace(PLAIN, vision="full"), 1.0, clips=3, visual=tokens) == 0

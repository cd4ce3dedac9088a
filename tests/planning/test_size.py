"""Counts from a config against loaded models and published sizes."""

import json
from pathlib import Path

from transformers.models.auto.configuration_auto import AutoConfig

from stages.model.adapters import Lora, add_lora
from stages.model.load import load_config, load_model
from stages.planning.size import model_size
from tests.planning.configs import QWEN2_5_VL_7B, QWEN3_VL_30B_A3B


def test_the_counts_from_a_config_are_those_of_the_loaded_model(model_dir: Path) -> None:
    model = load_model(model_dir)
    size = model_size(load_config(model_dir))
    assert size.total == sum(weight.numel() for weight in model.parameters())
    assert size.vision == sum(weight.numel() for name, weight in model.named_parameters() if ".visual." in name)
    assert size.head == 0  # tied
    for vision, expected in (("frozen", 0), ("adapters", 3 * size.vision_adapter), ("full", size.vision)):
        lora = Lora.model_validate({"rank": 3, "alpha": 6, "vision": vision})
        adapted = add_lora(load_model(model_dir), lora)
        trained = sum(weight.numel() for weight in adapted.parameters() if weight.requires_grad)
        assert trained == 3 * size.adapter + expected
    assert size.vision_adapter > 0
    if size.routed:
        lora = Lora(rank=3, alpha=6, experts=True)
        adapted = add_lora(load_model(model_dir), lora)
        trained = sum(weight.numel() for weight in adapted.parameters() if weight.requires_grad)
        assert trained == 3 * (size.adapter + size.expert_adapter)


def test_the_7b_model_has_its_published_size_without_its_weights(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(QWEN2_5_VL_7B))
    size = model_size(load_config(tmp_path))
    assert size.total == 8_292_166_656
    assert size.embedding == size.head == 152064 * 3584
    # Per layer: q 3584² + 3584, k and v 3584 · 512 + 512 each, o 3584², three of 3584 · 18944, two norms; and the
    # last norm
    layer = 2 * 3584**2 + 3584 + 2 * (3584 * 512 + 512) + 3 * 3584 * 18944 + 2 * 3584
    assert size.blocks == 28 * layer + 3584
    assert (size.head_dim, size.window, size.vision_full_layers) == (128, 64, 4)


def test_the_30b_model_computes_as_much_as_3b_for_a_token(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(QWEN3_VL_30B_A3B))
    size = model_size(load_config(tmp_path))
    # Per layer: 128 experts of three 2048 · 768; q and o 2048 · 4096, k and v 2048 · 512, the router 2048 · 128, two
    # norms of 2048 and two of 128
    experts = 128 * 3 * 2048 * 768
    layer = experts + 2 * 2048 * 4096 + 2 * 2048 * 512 + 2048 * 128 + 2 * 2048 + 2 * 128
    assert size.blocks == 48 * layer + 2048
    assert size.unrouted == 48 * experts * 120 // 128
    assert round((size.total - size.unrouted) / 1e9, 1) == 3.9  # with embedding, head and vision
    assert (size.intermediate, size.routed, size.normed_heads) == (8 * 768, 8, 36)


def test_glm_4_1v_has_its_published_size() -> None:
    size = model_size(AutoConfig.for_model("glm4v"))  # the defaults are those of GLM-4.1V-9B
    # Per layer: q and o 4096², k and v 4096 · 256, biases of q, k and v; gate, up and down 4096 · 13696; four norms
    layer = 2 * 4096**2 + 2 * 4096 * 256 + 4096 + 2 * 256 + 3 * 4096 * 13696 + 4 * 4096
    assert size.blocks == 40 * layer + 4096
    assert round(size.total / 1e9, 1) == 10.3
    # Four patches of 1536 become one of 4096, which goes through a square layer, a norm and three of 4096 · 13696
    assert size.merger == 4 * 1536 * 4096 + 4096 + 4096**2 + 2 * 4096 + 3 * 4096 * 13696
    assert (size.normed_results, size.vision_intermediate, size.window) == (2, 4096, 0)

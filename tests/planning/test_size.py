"""Counts from a config against loaded models and published sizes."""

import json
from pathlib import Path

from stages.model.adapters import Lora, add_lora
from stages.model.load import load_config, load_model
from stages.planning.size import model_size
from tests.planning.configs import QWEN2_5_VL_7B


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

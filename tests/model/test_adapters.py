"""Adapters beside a vision tower that is frozen, has adapters of its own, or is trained."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import Tensor, nn

from stages.model.adapters import Lora, VisionTraining, add_lora, write_adapter
from stages.model.inputs import PromptBuilder
from stages.model.load import load_model
from stages.sft import SftTrainer, run
from tests.model.tiny_models import clip, question
from tests.sft_inputs import LORA, folder_bytes, quick, steps, write_inputs

TRAINED: list[VisionTraining] = ["adapters", "full"]


def inputs_of(builder: PromptBuilder) -> dict[str, Tensor]:
    completion = builder.completion_ids("<answer>B</answer>")
    return builder.normalised(builder.batch([builder(question(), clip(frames=4))], [completion]))


def test_written_adapters_load_elsewhere_under_a_name_that_stands_for_their_weights(
    qwen2_5: Path, tmp_path: Path
) -> None:
    inputs, adapted = inputs_of(PromptBuilder(qwen2_5)), add_lora(load_model(qwen2_5), Lora(rank=2, alpha=4))
    fresh = write_adapter(adapted, tmp_path)
    assert write_adapter(adapted, tmp_path) == fresh
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight.data)
    written = write_adapter(adapted, tmp_path)
    assert written != fresh
    assert sorted(file.name for file in written.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    loaded = PeftModel.from_pretrained(load_model(qwen2_5), str(written))
    plain = load_model(qwen2_5)(**inputs).logits
    assert torch.equal(loaded(**inputs).logits, adapted(**inputs).logits)
    assert not torch.allclose(adapted(**inputs).logits, plain)


def test_adapters_are_on_every_linear_layer_of_the_language_model_that_is_no_gate(model_dir: Path) -> None:
    model = load_model(model_dir)
    linear = {name for name, layer in model.named_modules() if isinstance(layer, nn.Linear)}
    expected = {name for name in linear if ".language_model." in name and not name.endswith("_gate")}
    names = [name.partition(".lora_A.") for name, _ in add_lora(model, Lora(rank=2)).named_modules()]
    assert {layer.removeprefix("base_model.model.") for layer, _, adapter in names if adapter == "default"} == expected


def test_a_trained_tower_has_the_gradient_of_the_plain_model(model_dir: Path) -> None:
    inputs, plain = inputs_of(PromptBuilder(model_dir)), load_model(model_dir)
    plain(**inputs).loss.backward()
    adapted = add_lora(load_model(model_dir), Lora(rank=2, alpha=4, vision="full"))
    adapted(**inputs).loss.backward()  # fresh adapters add nothing
    found = {name: weight.grad for name, weight in adapted.named_parameters() if ".visual." in name}
    compared = 0
    for name, weight in plain.named_parameters():
        if ".visual." in name:
            gradient = found["base_model.model." + name.replace("visual.", "visual.modules_to_save.default.")]
            assert weight.grad is not None
            assert gradient is not None
            assert torch.equal(gradient, weight.grad), name
            compared += 1
    assert compared > 20


@pytest.mark.parametrize("vision", TRAINED)
def test_with_adapters_off_the_model_is_the_one_it_was(model_dir: Path, vision: VisionTraining) -> None:
    inputs, plain = inputs_of(PromptBuilder(model_dir)), load_model(model_dir)
    adapted: Any = add_lora(load_model(model_dir), Lora(rank=2, alpha=4, vision=vision))
    with torch.no_grad():
        for weight in adapted.parameters():
            if weight.requires_grad:
                weight += 0.05
        expected, changed = plain(**inputs).logits, adapted(**inputs).logits
        with adapted.disable_adapter():
            assert torch.equal(adapted(**inputs).logits, expected)
        assert not torch.allclose(changed, expected, atol=1e-3)
        assert torch.allclose(adapted.merge_and_unload()(**inputs).logits, changed, atol=1e-4)


def test_what_is_trained_is_fp32_and_the_rest_keeps_its_precision(model_dir: Path) -> None:
    adapted = add_lora(load_model(model_dir, "bf16"), Lora(rank=2, alpha=4, vision="full"))
    kinds = {(weight.requires_grad, weight.dtype) for weight in adapted.parameters()}
    assert kinds == {(True, torch.float32), (False, torch.bfloat16)}


@pytest.mark.parametrize("vision", TRAINED)
def test_a_run_trains_both_goes_on_from_its_checkpoint_and_saves_a_plain_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vision: VisionTraining
) -> None:
    monkeypatch.chdir(tmp_path)
    inputs = write_inputs(tmp_path)
    params = quick(lora=LORA | {"vision": vision}, precision="bf16", gradient_checkpointing=True, vision_lr_scale=0.5)
    run(params, **inputs)
    whole = folder_bytes(inputs["out"]), inputs["plot"].read_bytes()
    (work,) = (tmp_path / ".work").glob("sft/*/0")
    (work / "checkpoint-4" / "complete.json").unlink()
    trained: list[int] = []
    step = SftTrainer.training_step
    monkeypatch.setattr(
        SftTrainer, "training_step", lambda self, *args: trained.append(self.state.global_step) or step(self, *args)
    )
    run(params, **inputs)
    assert trained == [2, 3]
    assert (folder_bytes(inputs["out"]), inputs["plot"].read_bytes()) == whole
    assert float(steps(inputs["plot"])[0]["grad_norm"]) > 0
    before, after = load_model(inputs["model"], "bf16").state_dict(), load_model(inputs["out"], "bf16").state_dict()
    assert before.keys() == after.keys()
    moved = [name for name in before if not torch.equal(before[name], after[name])]
    assert {"visual" in name for name in moved} == {True, False}

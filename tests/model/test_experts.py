"""A mixture of experts: adapters on the experts, routers frozen or kept even."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from stages.data.sample import read_samples
from stages.model.adapters import Lora, add_lora
from stages.model.examples import Examples
from stages.model.families import FAMILIES
from stages.model.inputs import PromptBuilder
from stages.model.load import load_model
from stages.run.errors import UserError
from stages.sft import build_trainer, run
from stages.video.frame_store import FrameReader
from tests.model.tiny_models import WRITERS, clip, question
from tests.sft_inputs import LORA, quick, write_inputs

MIXTURES = [name for name in FAMILIES if import_module(f"stages.model.families.{name}").FAMILY.router]


@pytest.fixture(scope="module", params=MIXTURES)
def mixture(request: pytest.FixtureRequest) -> str:
    """A family with a mixture of experts."""
    return request.param


@pytest.fixture(scope="module")
def moe(mixture: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny random mixture of experts."""
    return WRITERS[mixture](tmp_path_factory.mktemp("models") / mixture)


def inputs_of(builder: PromptBuilder) -> dict[str, Tensor]:
    completion = builder.completion_ids("<answer>B</answer>")
    return builder.normalised(builder.batch([builder(question(), clip(frames=4))], [completion]))


def test_adapters_on_experts_are_trained_switched_off_and_merged(moe: Path) -> None:
    inputs, plain = inputs_of(PromptBuilder(moe)), load_model(moe)
    adapted: Any = add_lora(load_model(moe), Lora(rank=2, alpha=4, experts=True))
    on_experts = {name: weight for name, weight in adapted.named_parameters() if ".experts." in name and "lora" in name}
    assert len(on_experts) == 3 * 2 * 2  # layers, weights, two factors
    with torch.no_grad():
        for weight in on_experts.values():
            weight += 0.05
        expected, changed = plain(**inputs).logits, adapted(**inputs).logits
        with adapted.disable_adapter():
            assert torch.equal(adapted(**inputs).logits, expected)
        assert not torch.allclose(changed, expected, atol=1e-3)
    adapted(**inputs).loss.backward()
    assert all(weight.grad is not None and weight.grad.abs().max() > 0 for weight in on_experts.values())
    assert torch.allclose(adapted.merge_and_unload()(**inputs).logits, changed, atol=1e-4)


def test_without_the_option_no_adapter_is_on_an_expert_or_a_router(moe: Path) -> None:
    adapted = add_lora(load_model(moe), Lora(rank=2, alpha=4))
    trained = [name for name, weight in adapted.named_parameters() if weight.requires_grad]
    assert [name for name in trained if "self_attn" in name]
    assert not [name for name in trained if ".experts." in name or ".gate." in name]


def trained_parts(
    mixture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any
) -> tuple[set[str], list[dict[str, float]]]:
    """Which of routers and experts an SFT run moves, and the figures of its steps."""
    monkeypatch.chdir(tmp_path)
    inputs = write_inputs(tmp_path, mixture)
    run(quick(**changes), **inputs)
    before, after = load_model(inputs["model"]).state_dict(), load_model(inputs["out"]).state_dict()
    moved = {name.rpartition("mlp.")[2] for name in before if not torch.equal(before[name], after[name])}
    (steps,) = tmp_path.glob(".work/sft/*/*/steps.jsonl")
    rows = [json.loads(line) for line in steps.read_text().splitlines()]
    return moved, [row for row in rows if "loss" in row]


def test_sft_trains_routers_and_experts_and_a_frozen_router_stays(
    mixture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {"gate.weight", "experts.gate_up_proj", "experts.down_proj"}
    for frozen in (False, True):
        folder = tmp_path / str(frozen)
        folder.mkdir()
        moved, rows = trained_parts(mixture, folder, monkeypatch, freeze_router=frozen)
        assert moved & names == (names - {"gate.weight"} if frozen else names)
        assert not any("router_loss" in row for row in rows)


def test_the_routers_loss_is_transformers_own_and_is_logged(
    mixture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    inputs = write_inputs(tmp_path, mixture)
    examples = Examples(
        read_samples(inputs["samples"]),
        FrameReader(inputs["frame_store"], inputs["samples"]),
        PromptBuilder(inputs["model"]),
    )
    batch = examples.collate([examples[0], examples[2]])  # rows of different lengths: padding does not count
    losses = {}
    for weight in (0.0, 0.5):
        trainer = build_trainer(quick(router_loss=weight), examples, inputs["model"], tmp_path / "work")
        trainer.current_gradient_accumulation_steps = 1
        prepared = trainer._prepare_inputs(dict(batch))
        losses[weight] = trainer.compute_loss(trainer.model, dict(prepared))
    model: Any = trainer.model
    model.config.text_config.router_aux_loss_coef = 0.5
    labels = torch.full_like(prepared["input_ids"], -100)
    labels[:, -batch["labels"].shape[1] :] = batch["labels"]
    rest = {name: value for name, value in prepared.items() if name not in ("labels", "logits_to_keep")}
    with_labels = model(**rest, labels=labels, output_router_logits=True)
    assert losses[0.5].item() == pytest.approx(with_labels.loss.item(), rel=1e-5)
    assert (losses[0.5] - losses[0.0]).item() == pytest.approx(0.5 * with_labels.aux_loss.item(), rel=1e-4)
    assert with_labels.aux_loss.item() > 1.9  # two experts for each token


@pytest.mark.parametrize(
    "how", [{}, {"gradient_checkpointing": True}, {"tokens_per_forward": 400, "samples_per_forward": 1}]
)
def test_a_large_routers_loss_evens_the_use_of_experts(
    mixture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: dict[str, Any]
) -> None:
    _, rows = trained_parts(mixture, tmp_path, monkeypatch, router_loss=10.0, max_steps=8, learning_rate=1e-2, **how)
    assert len(rows) == 8
    assert rows[-1]["router_loss"] < rows[0]["router_loss"] - 0.01


def test_checkpointing_gives_the_routers_loss_its_gradient(
    mixture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    norms = []
    for checkpointing in (False, True):
        folder = tmp_path / str(checkpointing)
        folder.mkdir()
        how = {"router_loss": 1.0, "gradient_checkpointing": checkpointing, "max_steps": 2}
        _, rows = trained_parts(mixture, folder, monkeypatch, **how)
        norms.append([row["grad_norm"] for row in rows])
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)


def test_the_mean_over_forwards_is_added(mixture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The routers' loss of a step does not grow with its number of forwards."""
    found = []
    for per_forward in (4, 1):
        folder = tmp_path / str(per_forward)
        folder.mkdir()
        how = {"router_loss": 1.0, "max_steps": 1, "samples_per_forward": per_forward}
        _, rows = trained_parts(mixture, folder, monkeypatch, **how)
        found.append((rows[0]["loss"], rows[0]["router_loss"]))
    assert found[0] == pytest.approx(found[1], rel=0.1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"router_loss": 0.1}, "router_loss is for a mixture of experts, and qwen2_5_vl has none: set it to 0"),
        ({"lora": LORA | {"experts": True}}, "lora.experts is for a mixture of experts, and qwen2_5_vl has none"),
    ],
)
def test_a_dense_model_has_no_experts_to_train(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    inputs = write_inputs(tmp_path)
    with pytest.raises(UserError, match=said):
        run(quick(**change), **inputs)

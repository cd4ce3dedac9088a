"""Features of a frozen vision tower: what is kept changes no byte of a training."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.modeling_utils import PreTrainedModel

from stages.model import vision
from stages.model.inputs import Prompt, PromptBuilder
from stages.model.load import load_model
from stages.model.vision import GIB, FeatureCache, Features, encode, encoded_media, joint_media, pixel_media
from stages.sft import run
from tests.model.tiny_models import clip, picture, question
from tests.rl.runs import SMALL, rows, train
from tests.rl.runs import write_inputs as write_rl_inputs
from tests.sft_inputs import LORA, folder_bytes, quick, steps, write_inputs

TOO_SMALL = 1e-9  # GiB: less than one clip


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The samples whose media the vision tower has seen, in order."""
    seen: list[str] = []

    def counted(model: PreTrainedModel, builder: PromptBuilder, prompts: Sequence[Prompt]) -> list[Features]:
        seen.extend(prompt.sample_id for prompt in prompts)
        return encode(model, builder, prompts)

    monkeypatch.setattr(vision, "encode", counted)
    return seen


def test_features_are_those_of_pixels(model_dir: Path) -> None:
    model, builder = load_model(model_dir), PromptBuilder(model_dir)
    prompts = [
        builder(question("a"), clip()),
        builder(question("b", "image"), picture()),
        builder(question("c"), clip(6)),
    ]
    inputs = builder.batch(prompts, pixels=False)
    with torch.no_grad():
        expected = model(**inputs, **pixel_media(builder, prompts, model.device)).logits
        found = model(**inputs, **encoded_media(FeatureCache(1.0).encode(model, builder, prompts))).logits
    assert torch.allclose(found, expected, atol=1e-5)


def test_one_pass_for_videos_and_images_has_their_loss_and_gradient(model_dir: Path) -> None:
    builder = PromptBuilder(model_dir)
    prompts = [
        builder(question("a"), clip()),
        builder(question("b", "image"), picture()),
        builder(question("c"), clip(6)),
        builder(question("d", "image"), picture(seed=2)),
    ]
    rows = builder.batch(prompts, [builder.completion_ids("<answer>B</answer>")] * 4, pixels=False)
    found = []
    for joint in (False, True):
        model: Any = load_model(model_dir)
        passes: list[object] = []
        model.model.visual.register_forward_hook(lambda *_, passes=passes: passes.append(None))
        ids, media = rows["input_ids"], pixel_media(builder, prompts, model.device)
        if joint:
            ids, media = joint_media(builder, ids, prompts, model.device)
        loss = model(**rows | {"input_ids": ids}, **media).loss
        loss.backward()
        assert len(passes) == (1 if joint else len({prompt.data_type for prompt in prompts}))
        found.append((loss.item(), {name: weight.grad for name, weight in model.named_parameters()}))
    (expected, expected_gradients), (loss, gradients) = found
    assert loss == pytest.approx(expected, rel=1e-5)
    for name, gradient in expected_gradients.items():
        scale = float(gradient.abs().max())
        assert torch.allclose(gradients[name], gradient, rtol=1e-3, atol=1e-4 * scale + 1e-9), name


def test_equal_media_are_encoded_once_and_the_least_recently_used_go_first(model_dir: Path, encoded: list[str]) -> None:
    model, builder = load_model(model_dir), PromptBuilder(model_dir)
    a, b, c = (builder(question(name), clip(seed=seed)) for seed, name in enumerate("abc"))
    same = builder(question("same", problem="Why?"), clip(seed=0))
    size = encode(model, builder, [a])[0].size
    cache = FeatureCache(2 * size / GIB)
    for prompt in (a, b, same, c, a, b):  # c takes the place of b, and b that of c
        (found,) = cache.encode(model, builder, [prompt])
        assert torch.equal(found.merged_NH, encode(model, builder, [prompt])[0].merged_NH)
    assert encoded == ["a", "b", "c", "b"]


@pytest.mark.parametrize("gib", [0.0, TOO_SMALL])
def test_a_cache_without_room_keeps_nothing(qwen2_5: Path, encoded: list[str], gib: float) -> None:
    model, builder = load_model(qwen2_5), PromptBuilder(qwen2_5)
    cache, prompt = FeatureCache(gib), builder(question("a"), clip())
    for _ in range(2):
        cache.encode(model, builder, [prompt])
    assert encoded == ["a", "a"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "how",
    [
        {"vision_lr_scale": 0.0},
        {"lora": LORA, "samples_per_forward": 2},
        {"lora": LORA, "samples_per_forward": 1, "tokens_per_forward": 150, "precision": "bf16"},
    ],
    ids=["frozen", "adapters", "packed"],
)
def test_sft_with_and_without_kept_features_gives_equal_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoded: list[str], how: dict[str, object]
) -> None:
    monkeypatch.chdir(tmp_path)
    inputs, found = write_inputs(tmp_path), []
    for gib, visits in ((TOO_SMALL, 20), (1.0, 10)):  # two epochs of ten samples, the last batch of which has two
        encoded.clear()
        run(quick(feature_cache_gib=gib, max_steps=5 if "tokens_per_forward" in how else 6, **how), **inputs)
        assert len(encoded) == visits
        found.append((folder_bytes(inputs["out"]), steps(inputs["plot"])))
    assert found[0] == found[1]


@pytest.mark.slow
def test_tgrpo_with_and_without_kept_features_gives_equal_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoded: list[str]
) -> None:
    inputs, found = write_rl_inputs(tmp_path), []
    for gib, visits in ((TOO_SMALL, 8 + 6), (1.0, 4 + 6)):  # each of four questions twice, each of three clips shuffled
        folder = tmp_path / str(gib)
        folder.mkdir()
        monkeypatch.chdir(folder)
        encoded.clear()
        train(SMALL.model_copy(update={"feature_cache_gib": gib}), inputs, folder)
        assert len(encoded) == visits
        found.append((folder_bytes(folder / "model"), rows(folder)))
    assert found[0] == found[1]

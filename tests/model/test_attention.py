"""Attention within segments: its calls and its numbers."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from stages.model.attention import VISION, Segments, attend
from stages.model.load import load_model

GRIDS = [[2, 8, 6], [3, 4, 4], [1, 30, 22]]  # a video, a smaller one, and an image that windows of 14 x 14 cut unevenly


@pytest.fixture
def model(model_dir: Path) -> Any:
    """A model of each family, with windows where the family has them."""
    model: Any = load_model(model_dir)
    if hasattr(model.model.visual, "fullatt_block_indexes"):
        model.model.visual.fullatt_block_indexes = [1]
    return model


def encode(model: Any, grids: list[list[int]], implementation: str) -> tuple[Tensor, dict[str, Tensor]]:
    """Features of noise in these grids, and gradients of their squares."""
    model.set_attn_implementation({"vision_config": implementation})
    generator = torch.Generator().manual_seed(0)
    patches = sum(t * h * w for t, h, w in grids)
    pixels = torch.randn(patches, 3 * 2 * 8 * 8, generator=generator)
    model.zero_grad()
    encoded = model.get_video_features(pixels, torch.tensor(grids))
    layers = [encoded.pooler_output, *getattr(encoded, "deepstack_features", [])]
    features = torch.cat([of_clip for layer in layers for of_clip in layer])
    (features**2).sum().backward()
    gradients = {name: weight.grad.clone() for name, weight in model.model.visual.named_parameters()}
    return features.detach(), gradients


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[torch.Size]:
    """The shape of the queries of each call of SDPA."""
    shapes: list[torch.Size] = []
    whole = functional.scaled_dot_product_attention

    def counted(query: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        shapes.append(query.shape)
        return whole(query, *args, **kwargs)

    monkeypatch.setattr(functional, "scaled_dot_product_attention", counted)
    return shapes


def test_a_vision_layer_makes_one_call_for_all_its_windows(model: Any, calls: list[torch.Size]) -> None:
    assert model.model.visual.config._attn_implementation == VISION  # as loaded
    encode(model, GRIDS, VISION)
    assert len(calls) == len(model.model.visual.blocks)
    calls.clear()
    encode(model, GRIDS, "sdpa")
    assert len(calls) > len(model.model.visual.blocks)


def test_vision_features_and_gradients_are_those_of_transformers_loop(model: Any) -> None:
    expected, expected_gradients = encode(model, GRIDS, "sdpa")
    found, gradients = encode(model, GRIDS, VISION)
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5)
    for name, gradient in expected_gradients.items():
        assert torch.allclose(gradients[name], gradient, rtol=1e-3, atol=1e-4 * float(gradient.abs().max())), name


def test_frames_of_one_size_give_the_loops_numbers_to_the_bit(model: Any) -> None:
    grids = [[4, 6, 6], [1, 6, 6], [2, 6, 6]]
    expected, expected_gradients = encode(model, grids, "sdpa")
    found, gradients = encode(model, grids, VISION)
    assert torch.equal(found, expected)
    assert all(torch.equal(gradients[name], gradient) for name, gradient in expected_gradients.items())


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("lengths", [[3, 7, 1, 5], [4, 4, 4]])
def test_a_token_attends_to_its_own_segment(lengths: list[int], causal: bool) -> None:
    query, key, value = states(sum(lengths))
    found = attend(query, key, value, Segments.of(lengths), causal, scale=0.3)
    expected = one_by_one(query, key, value, lengths, causal, scale=0.3)
    assert torch.allclose(found, expected, atol=1e-6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("causal", [False, True])
def test_the_kernel_of_a_gpu_gives_the_same(causal: bool) -> None:
    lengths = [64, 64, 17, 130]
    query, key, value = (tensor.cuda().bfloat16() for tensor in states(sum(lengths), width=80))
    found = attend(query, key, value, Segments.of(lengths).to(query.device), causal, scale=0.1)
    expected = one_by_one(query.float(), key.float(), value.float(), lengths, causal, scale=0.1)
    assert torch.allclose(found.float(), expected, atol=2e-2)


def states(length: int, width: int = 16) -> tuple[Tensor, Tensor, Tensor]:
    """Queries of four heads, keys and values of two, [L, heads, D]."""
    generator = torch.Generator().manual_seed(1)
    query, key, value = (torch.randn(length, heads, width, generator=generator) for heads in (4, 2, 2))
    return query, key, value


def one_by_one(query: Tensor, key: Tensor, value: Tensor, lengths: list[int], causal: bool, scale: float) -> Tensor:
    """Attention of each segment alone, with the softmax written out."""
    attended = []
    for q, k, v in zip(query.split(lengths), key.split(lengths), value.split(lengths), strict=True):
        k, v = k.repeat_interleave(2, dim=1), v.repeat_interleave(2, dim=1)
        scores = torch.einsum("qhd,khd->hqk", q, k) * scale
        if causal:
            scores = scores.masked_fill(torch.ones_like(scores, dtype=torch.bool).triu(1), -torch.inf)
        attended.append(torch.einsum("hqk,khd->qhd", scores.softmax(-1), v))
    return torch.cat(attended)

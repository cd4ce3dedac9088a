from math import log
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from stages.model.inputs import Prompt
from stages.rl.scoring import CHUNK, TokenLogps, dense_mask, pack, score, use_group_prefix_attention
from tests.rl.conftest import taken, tiny_media, tiny_prompt

# Two videos around an image, prompts of different lengths; completions are ragged, down to one token.
PROMPTS = [tiny_prompt("video", 3, 4, seed=1), tiny_prompt("image", 2, 6, seed=2), tiny_prompt("video", 5, 1, seed=3)]
LENGTHS = [[5, 1, 3], [2, 7, 1], [1, 1, 4]]


@pytest.fixture
def prompts(model: Any) -> list[Prompt]:
    """The prompts for the model of each family."""
    return taken(PROMPTS, model)


def completions(lengths: list[list[int]]) -> list[list[Tensor]]:
    generator = torch.Generator().manual_seed(7)
    return [[torch.randint(0, 90, (length,), generator=generator) for length in group] for group in lengths]


def one_at_a_time(model: Any, prompts: list[Prompt], groups: list[list[Tensor]], temperature: float = 1.0) -> Tensor:
    """Log-probabilities of all completions, each in a forward of its own."""
    logps = []
    for prompt, group in zip(prompts, groups, strict=True):
        for ids_C in group:
            positions_3C = (prompt.next_position + torch.arange(len(ids_C))).expand(3, -1)
            logits_1LV = model(
                input_ids=torch.cat([prompt.ids_P, ids_C])[None],
                position_ids=torch.cat([prompt.position_ids_3P, positions_3C], dim=1)[:, None],
                **tiny_media([prompt]),
            ).logits
            logps_CV = (logits_1LV[0, len(prompt.ids_P) - 1 : -1] / temperature).log_softmax(dim=1)
            logps.append(logps_CV.gather(1, ids_C[:, None])[:, 0])
    return torch.cat(logps)


def gradient(model: Any, logps_N: Tensor) -> Tensor:
    """The gradient of a sum in which all tokens weigh differently."""
    model.zero_grad()
    (logps_N * torch.linspace(-1, 1, len(logps_N))).sum().backward()
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None])


@pytest.mark.parametrize("dense", [False, True], ids=["group-prefix", "dense"])
def test_packed_scores_and_gradients_are_those_of_one_sequence_at_a_time(
    model: Any, prompts: list[Prompt], dense: bool
) -> None:
    groups = completions(LENGTHS)
    expected_N = one_at_a_time(model, prompts, groups)
    expected_gradient = gradient(model, expected_N)
    use_group_prefix_attention(model)
    packed = pack(prompts, groups)
    logps_N = score(model, packed, tiny_media(prompts), temperature=1.0, dense=dense).logps_RC[packed.mask_RC]
    assert expected_N.std() > 0.1
    assert torch.allclose(logps_N, expected_N, atol=1e-4)
    assert cosine_similarity(gradient(model, logps_N), expected_gradient, dim=0) > 0.99999


def test_gradient_checkpointing_changes_nothing(model: Any, prompts: list[Prompt]) -> None:
    use_group_prefix_attention(model)
    packed, media = pack(prompts, completions(LENGTHS)), tiny_media(prompts)
    expected = gradient(model, score(model, packed, media, 1.0).logps_RC[packed.mask_RC])
    model.train()
    model.activation_checkpointing_enable()
    checkpointed = gradient(model, score(model, packed, media, 1.0).logps_RC[packed.mask_RC])
    assert torch.allclose(checkpointed, expected, atol=1e-6)


def test_encoded_media_score_like_their_pixels(model: Any, prompts: list[Prompt]) -> None:
    use_group_prefix_attention(model)
    packed, media = pack(prompts, completions(LENGTHS)), tiny_media(prompts)
    encoded = {"video": model.get_video_features(media["pixel_values_videos"], media["video_grid_thw"])}
    if "pixel_values" in media:
        encoded["image"] = model.get_image_features(media["pixel_values"], media["image_grid_thw"])
    with torch.no_grad():
        from_pixels = score(model, packed, media, 1.0).logps_RC
        from_features = score(model, packed, {"mm_encoder_outputs": encoded}, 1.0).logps_RC
    assert torch.allclose(from_features, from_pixels, atol=1e-5)


def test_scores_are_those_of_the_distribution_that_was_sampled_at_a_temperature(
    model: Any, prompts: list[Prompt]
) -> None:
    groups = completions(LENGTHS)
    expected_N = one_at_a_time(model, prompts, groups, temperature=0.5)
    use_group_prefix_attention(model)
    packed = pack(prompts, groups)
    assert torch.allclose(
        score(model, packed, tiny_media(prompts), 0.5).logps_RC[packed.mask_RC], expected_N, atol=1e-4
    )


def test_padding_scores_zero_and_rows_keep_the_order_of_their_groups() -> None:
    packed = pack(PROMPTS, completions(LENGTHS))
    assert packed.mask_RC.sum(dim=1).tolist() == [5, 1, 3, 2, 7, 1, 1, 1, 4]
    assert packed.targets_N[:6].tolist() == torch.cat(completions(LENGTHS)[0][:2]).tolist()


def test_the_dense_mask_shows_a_completion_its_prompt_and_itself() -> None:
    prompt = tiny_prompt("image", 1, 1, seed=0)  # 6 tokens
    mask_LL = dense_mask(pack([prompt], [[torch.tensor([1, 2]), torch.tensor([3])]]))[0, 0].int()
    assert mask_LL[:6, :6].tolist() == torch.ones(6, 6).tril().int().tolist()
    assert mask_LL[6:].tolist() == [
        [1, 1, 1, 1, 1, 1, 1, 0, 0],
        [1, 1, 1, 1, 1, 1, 1, 1, 0],
        [1, 1, 1, 1, 1, 1, 0, 0, 1],
    ]


def test_log_probability_entropy_and_gradient_of_known_distributions() -> None:
    # Shares ½ ½ and, at temperature ½, 9/10 1/10 from logits that are ln 3 apart
    logits_NV = torch.tensor([[0.0, 0.0], [log(3), 0.0]], dtype=torch.float64, requires_grad=True)
    logps_N, entropy_N = TokenLogps.apply(logits_NV * 1.0, torch.tensor([0, 1]), 0.5)
    assert logps_N.tolist() == pytest.approx([log(0.5), log(0.1)])
    assert entropy_N.tolist() == pytest.approx([log(2), -0.9 * log(0.9) - 0.1 * log(0.1)])
    (gradient_NV,) = torch.autograd.grad(logps_N.sum(), logits_NV)
    assert gradient_NV.flatten().tolist() == pytest.approx([1.0, -1.0, -1.8, 1.8])  # (1 or 0 − share) / ½


def test_log_probabilities_over_several_chunks_have_the_gradient_of_autograd() -> None:
    generator = torch.Generator().manual_seed(0)
    logits_NV, targets_N = (
        torch.randn(CHUNK + 3, 7, generator=generator),
        torch.randint(0, 7, (CHUNK + 3,), generator=generator),
    )
    weights_N = torch.randn(CHUNK + 3, generator=generator)
    leaf_NV = logits_NV.clone().requires_grad_()
    plain_N = (leaf_NV / 1.3).log_softmax(dim=1).gather(1, targets_N[:, None])[:, 0]
    (expected_NV,) = torch.autograd.grad((plain_N * weights_N).sum(), leaf_NV)
    logps_N, _ = TokenLogps.apply(leaf_NV * 1.0, targets_N, 1.3)
    (gradient_NV,) = torch.autograd.grad((logps_N * weights_N).sum(), leaf_NV)
    assert torch.allclose(logps_N, plain_N, atol=1e-6)
    assert torch.allclose(gradient_NV, expected_NV, atol=1e-6)

"""Decoding in fixed room against decoding in growing room."""

from typing import cast

import pytest
import torch
from torch import Tensor
from transformers.modeling_utils import PreTrainedModel

from stages.generation.attention import shared_prefix
from stages.generation.fixed import FixedDecoder, decode_fixed
from stages.generation.growing import decode_growing
from stages.generation.prefill import Prefilled, prefill
from stages.generation.sampling import Sampling
from stages.model.adapters import Lora, add_lora
from stages.model.inputs import Prompt, PromptBuilder

GREEDY, WARM, CUT = Sampling(100, temperature=0.0), Sampling(100, 1.2), Sampling(100, 0.9, top_p=0.8)


def adapted(model: PreTrainedModel) -> PreTrainedModel:
    """The model with adapters that change what it says."""
    policy = cast(PreTrainedModel, add_lora(model, Lora(rank=2, alpha=8)).eval())
    generator = torch.Generator().manual_seed(0)
    for name, weight in policy.named_parameters():
        if "lora_B" in name:
            weight.data = 0.3 * torch.randn(weight.shape, generator=generator)
    return policy


def favour_end(model: PreTrainedModel, builder: PromptBuilder, by: float) -> None:
    """Add `by` to the logit of the end token."""
    bias = torch.zeros(model.config.text_config.vocab_size)
    bias[builder.end_id] = by
    model.get_submodule("lm_head").bias = torch.nn.Parameter(bias, requires_grad=False)


@torch.no_grad()
def started(model: PreTrainedModel, builder: PromptBuilder, prompts: list[Prompt], sampling: Sampling) -> Prefilled:
    """What decoding starts from: 5 + 2 + 4 rows."""
    return prefill(model, builder, prompts, [5, 2, 4], sampling, seeds=[1, 2, 3], media=None)


def rows(ids_RC: Tensor, logps_RC: Tensor, end_ids: Tensor) -> list[tuple[list[int], Tensor]]:
    """Each row up to its end token."""
    found = []
    for ids_C, logps_C in zip(ids_RC, logps_RC, strict=True):
        ends = torch.isin(ids_C, end_ids).nonzero()[:, 0].tolist()
        length = ends[0] + 1 if ends else len(ids_C)
        found.append((ids_C[:length].tolist(), logps_C[:length]))
    return found


@pytest.mark.parametrize("sampling", [GREEDY, WARM, CUT], ids=["greedy", "sampled", "nucleus"])
@pytest.mark.parametrize("ragged", [True, False], ids=["ragged", "to the end"])
@pytest.mark.parametrize("with_adapters", [False, True], ids=["plain", "adapters"])
def test_fixed_room_gives_the_tokens_of_growing_room(
    model: PreTrainedModel,
    builder: PromptBuilder,
    prompts: list[Prompt],
    sampling: Sampling,
    ragged: bool,
    with_adapters: bool,
) -> None:
    favour_end(model, builder, by=3.5 if ragged else -1e4)
    policy = adapted(model) if with_adapters else model
    with torch.no_grad():
        start = started(policy, builder, prompts, sampling)
        expected = rows(*decode_growing(policy, start, sampling), start.end_ids)
        start = started(policy, builder, prompts, sampling)  # decoding moves its rows
        found = rows(*decode_fixed(policy, start, sampling), start.end_ids)
    assert [ids for ids, _ in found] == [ids for ids, _ in expected]
    for (_, logps_C), (_, expected_C) in zip(found, expected, strict=True):
        assert torch.allclose(logps_C, expected_C, atol=1e-5)
    lengths = {len(ids) for ids, _ in found}
    if not ragged:
        assert lengths == {100}  # the room was 64 and then 100
    elif sampling.temperature > 0:
        assert len(lengths) > 3


def test_a_step_writes_to_the_same_addresses_token_by_token(
    model: PreTrainedModel, builder: PromptBuilder, prompts: list[Prompt]
) -> None:
    decoder = FixedDecoder(model, started(model, builder, prompts, CUT), CUT)
    with torch.no_grad(), shared_prefix(model):
        decoder.make_room()
        addresses = [buffer.data_ptr() for buffer in decoder.buffers()]
        before = [buffer.clone() for buffer in decoder.buffers()]
        for _ in range(6):
            decoder.step()
        assert [buffer.data_ptr() for buffer in decoder.buffers()] == addresses
        changed = [not torch.equal(buffer, old) for buffer, old in zip(decoder.buffers(), before, strict=True)]
        assert sum(changed) >= 4 + 2 * model.config.text_config.num_hidden_layers


@pytest.mark.parametrize("sampling", [GREEDY, WARM, CUT], ids=["greedy", "sampled", "nucleus"])
@pytest.mark.parametrize("with_adapters", [False, True], ids=["plain", "adapters"])
def test_a_step_compiles_as_one_graph(
    model: PreTrainedModel,
    builder: PromptBuilder,
    prompts: list[Prompt],
    sampling: Sampling,
    with_adapters: bool,
) -> None:
    torch.compiler.reset()
    policy = adapted(model) if with_adapters else model
    plain = FixedDecoder(policy, started(policy, builder, prompts, sampling), sampling)
    compiled = FixedDecoder(policy, started(policy, builder, prompts, sampling), sampling)
    with torch.no_grad(), shared_prefix(policy):
        for decoder in (plain, compiled):
            decoder.make_room()
        step = torch.compile(compiled.step, fullgraph=True, backend="eager")
        for _ in range(3):
            plain.step()
            step()
        assert torch.equal(plain.ids_AC, compiled.ids_AC)
        assert len({tuple(ids_C[:4].tolist()) for ids_C in plain.ids_AC}) > 1


@pytest.mark.gpu
@pytest.mark.parametrize("sampling", [GREEDY, WARM, CUT], ids=["greedy", "sampled", "nucleus"])
def test_a_captured_graph_gives_the_tokens_of_growing_room(
    model: PreTrainedModel, builder: PromptBuilder, prompts: list[Prompt], sampling: Sampling
) -> None:
    favour_end(model, builder, by=3.5)
    torch.nn.Module.cuda(model)
    with torch.no_grad():
        start = started(model, builder, prompts, sampling)
        expected = rows(*decode_growing(model, start, sampling), start.end_ids)
        start = started(model, builder, prompts, sampling)
        found = rows(*decode_fixed(model, start, sampling), start.end_ids)
    assert [ids for ids, _ in found] == [ids for ids, _ in expected]

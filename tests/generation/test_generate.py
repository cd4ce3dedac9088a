"""Generation against Hugging Face's own, and against a plain forward."""

import pytest
import torch
from transformers.modeling_utils import PreTrainedModel

from stages.generation import prefill
from stages.generation.generate import generate
from stages.generation.sampling import Sampling, choose, least_by_histogram, least_by_sort, nucleus
from stages.model.inputs import Prompt, PromptBuilder


def test_greedy_completions_equal_separate_hugging_face_generate_calls(
    model: PreTrainedModel, builder: PromptBuilder, prompts: list[Prompt]
) -> None:
    completions = generate(model, builder, prompts, [1, 2, 1], Sampling(12, temperature=0.0), seeds=[0, 0, 0])

    assert [len(group) for group in completions] == [1, 2, 1]
    for prompt, group in zip(prompts, completions, strict=True):
        inputs = builder.normalised(builder.batch([prompt]))
        expected = model.generate(  # type: ignore[operator]  # known to the subclasses only
            **inputs, do_sample=False, max_new_tokens=12, suppress_tokens=builder.banned_ids
        )[0, len(prompt.ids_P) :]
        for completion in group:
            assert completion.ids_C.tolist() == expected.tolist()


def test_logps_of_sampled_tokens_equal_a_plain_forward_of_the_whole_sequence(
    model: PreTrainedModel, builder: PromptBuilder, prompts: list[Prompt]
) -> None:
    completions = generate(
        model, builder, prompts, [3, 2, 1], Sampling(12, temperature=1.3, top_p=0.9), seeds=[5, 6, 7]
    )

    for prompt, group in zip(prompts, completions, strict=True):
        for completion in group:
            inputs = builder.normalised(builder.batch([prompt], [completion.ids_C]))
            labels_L = inputs.pop("labels")[0]
            with torch.no_grad():
                logps_LV = (model(**inputs).logits[0, :-1] / 1.3).log_softmax(-1)
            expected_C = logps_LV.gather(1, labels_L[1:, None].clamp(min=0))[labels_L[1:] >= 0, 0]
            assert torch.allclose(completion.logps_C, expected_C, atol=2e-5)


def test_completions_of_a_prompt_depend_on_its_seed_and_not_on_its_neighbours(
    model: PreTrainedModel, builder: PromptBuilder, prompts: list[Prompt]
) -> None:
    sampling = Sampling(10)
    together = generate(model, builder, prompts, [4, 4, 4], sampling, seeds=[1, 2, 3])
    alone = generate(model, builder, prompts[2:], [4], sampling, seeds=[3])
    other = generate(model, builder, prompts[2:], [4], sampling, seeds=[4])

    assert [completion.ids_C.tolist() for completion in together[2]] == [
        completion.ids_C.tolist() for completion in alone[0]
    ]
    assert [completion.ids_C.tolist() for completion in alone[0]] != [
        completion.ids_C.tolist() for completion in other[0]
    ]
    assert len({tuple(completion.ids_C.tolist()) for completion in alone[0]}) > 1


def test_a_row_ends_with_its_end_token_and_only_a_cut_row_is_truncated(
    model: PreTrainedModel, builder: PromptBuilder, prompts: list[Prompt]
) -> None:
    with torch.no_grad():
        bias = torch.nn.Parameter(torch.zeros(model.config.text_config.vocab_size))
        bias[builder.end_id] = 3.0
        model.lm_head.bias = bias
    completions = [
        row for group in generate(model, builder, prompts, [8, 8, 8], Sampling(6), seeds=[1, 2, 3]) for row in group
    ]

    assert {row.truncated for row in completions} == {True, False}
    for row in completions:
        assert (builder.end_id in row.ids_C.tolist()) is not row.truncated
        assert builder.end_id not in row.ids_C[:-1].tolist()
        assert len(row.logps_C) == len(row.ids_C) <= 6
        assert "<|im_end|>" not in row.text


def test_generation_leaves_the_model_in_its_mode(
    model: PreTrainedModel, builder: PromptBuilder, prompts: list[Prompt]
) -> None:
    model.train()
    generate(model, builder, prompts[:1], [1], Sampling(1), seeds=[0])
    assert model.training


def test_a_token_is_drawn_by_its_share_of_the_distribution() -> None:
    logits_RV = torch.tensor([0.5, 0.3, 0.2]).log().repeat(4, 1)
    uniform_R = torch.tensor([0.49, 0.51, 0.79, 0.81])
    none = torch.tensor([], dtype=torch.long)
    assert choose(logits_RV, uniform_R, Sampling(1), none).tolist() == [0, 1, 1, 2]
    # 0.5 + 0.3 reaches 0.6, so the third is out: the first has 0.5 / 0.8 = 0.625.
    assert choose(logits_RV, uniform_R, Sampling(1, top_p=0.6), none).tolist() == [0, 0, 1, 1]
    assert choose(logits_RV, uniform_R, Sampling(1, top_p=0.001), none).tolist() == [0, 0, 0, 0]
    # Temperature 0.5 squares the shares: 0.25, 0.09, 0.04 of 0.38, cumulated 0.658, 0.895, 1.
    assert choose(logits_RV, uniform_R, Sampling(1, temperature=0.5), none).tolist() == [0, 0, 1, 1]


def test_the_nucleus_is_the_likeliest_tokens_that_reach_top_p() -> None:
    probs_RV = torch.tensor([[0.1, 0.5, 0.15, 0.25], [0.25, 0.25, 0.25, 0.25]])
    assert nucleus(probs_RV, 0.5).tolist() == [[0, 0.5, 0, 0], [0.25, 0.25, 0.25, 0.25]]  # ties stay together
    assert nucleus(probs_RV, 0.7)[0].tolist() == [0, 0.5, 0, 0.25]
    assert nucleus(probs_RV[:, [1, 0, 3, 2]], 0.8)[0].tolist() == [0.5, 0, 0.25, pytest.approx(0.15)]
    generator = torch.Generator().manual_seed(0)
    random_RV = torch.randn(5, 1000, generator=generator).mul(3).softmax(dim=1)
    descending_RV = random_RV.sort(dim=1, descending=True).values
    expected_R = ((descending_RV.cumsum(dim=1) - descending_RV) < 0.9).sum(
        dim=1
    )  # those before which 0.9 was not reached
    assert (nucleus(random_RV, 0.9) > 0).sum(dim=1).tolist() == expected_R.tolist()


def test_a_sort_and_histograms_find_the_same_nucleus() -> None:
    generator = torch.Generator().manual_seed(0)
    probs_RV = torch.randn(40, 3000, generator=generator).mul(4).softmax(dim=1)
    probs_RV[0] = 1 / 3000  # all tokens are equally likely
    for top_p in (0.001, 0.5, 0.95, 0.999):
        sets = [probs_RV >= find(probs_RV, top_p) for find in (least_by_sort, least_by_histogram)]
        assert torch.equal(*sets)


def test_the_last_uniform_number_leads_to_a_token_of_the_nucleus() -> None:
    logits_RV = torch.tensor([[0.0, 0.0, -torch.inf, -50.0]])
    assert choose(
        logits_RV, torch.tensor([1 - 2**-24]), Sampling(1, top_p=0.9), torch.tensor([], dtype=torch.long)
    ).tolist() == [1]


def test_banned_tokens_are_never_drawn() -> None:
    logits_RV = torch.tensor([[5.0, 0.0, 0.0]]).repeat(2, 1)
    banned = torch.tensor([0])
    assert choose(logits_RV, torch.tensor([0.0, 0.99]), Sampling(1), banned).tolist() == [1, 2]
    assert choose(logits_RV, torch.tensor([0.0, 0.0]), Sampling(1, temperature=0.0), banned).tolist() == [1, 1]


def test_prompts_of_like_length_share_a_pass_where_that_saves_more_than_the_pass_costs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(prefill, "PASS_TOKENS", 100)
    assert prefill.passes([]) == []
    assert prefill.passes([60, 110, 60]) == [[0, 1, 2]]  # a second pass saves 2 x 50
    assert prefill.passes([60, 111, 60]) == [[0, 2], [1]]
    assert prefill.passes([500, 10, 490, 11, 250]) == [[1, 3], [4], [0, 2]]


def test_completions_are_the_same_however_many_passes_the_prompts_take(
    model: PreTrainedModel, builder: PromptBuilder, prompts: list[Prompt], monkeypatch: pytest.MonkeyPatch
) -> None:
    def completions() -> list[list[list[int]]]:
        found = generate(model, builder, prompts, [2, 2, 2], Sampling(10), seeds=[1, 2, 3])
        return [[completion.ids_C.tolist() for completion in group] for group in found]

    together = completions()
    monkeypatch.setattr(prefill, "PASS_TOKENS", 0)
    assert len(prefill.passes([len(prompt.ids_P) for prompt in prompts])) == 3
    assert completions() == together

"""Packed rows: their loss and gradient, and how samples are shared out."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from stages.model.adapters import Lora, VisionTraining, add_lora
from stages.model.attention import use_packed_attention
from stages.model.inputs import IGNORE, Prompt, PromptBuilder, media_inputs
from stages.model.load import load_model
from stages.model.packing import even_rows, packed_row, packed_rows, rows_needed, shuffled_steps
from stages.sft import completion_loss
from tests.model.tiny_models import clip, picture, question


@pytest.fixture
def builder(model_dir: Path) -> PromptBuilder:
    """The prompts of each family."""
    return PromptBuilder(model_dir)


@pytest.fixture
def examples(builder: PromptBuilder) -> tuple[list[Prompt], list[Tensor]]:
    """Two videos and an image between them, with answers of different lengths."""
    prompts = [
        builder(question("clip-1"), clip(frames=6)),
        builder(question("image", "image", problem="What colour is it?"), picture()),
        builder(question("clip-2"), clip(frames=2, seed=1)),
    ]
    texts = ["<think>it moves right, option B.</think>\n<answer>B</answer>", "A", "it is a red circle"]
    return prompts, [builder.completion_ids(text) for text in texts]


@pytest.mark.parametrize(
    "vision", [None, "frozen", "adapters", "full"], ids=["whole", "lora", "lora of vision", "lora and vision"]
)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_packed_row_has_the_loss_and_gradient_of_its_samples_one_by_one(
    model_dir: Path,
    builder: PromptBuilder,
    examples: tuple[list[Prompt], list[Tensor]],
    vision: VisionTraining | None,
    checkpointing: bool,
) -> None:
    prompts, completions = examples
    count = torch.tensor(sum(len(ids_C) for ids_C in completions))

    def gradients(batches: list[dict[str, Any]], packed: bool) -> tuple[float, dict[str, Tensor]]:
        torch.manual_seed(0)
        model: Any = load_model(model_dir).train()
        if packed:
            use_packed_attention(model)
        if checkpointing:
            model.activation_checkpointing_enable()
        if vision is not None:
            model = add_lora(model, Lora(rank=4, alpha=8, vision=vision))
        total = 0.0
        for batch in batches:
            labels = batch.pop("labels")
            loss = completion_loss(model(**builder.normalised(batch), use_cache=False), labels, count)
            loss.backward()
            total += loss.item()
        return total, {name: w.grad for name, w in model.named_parameters() if w.grad is not None}

    alone = [builder.batch([prompt], [ids_C]) for prompt, ids_C in zip(prompts, completions, strict=True)]
    expected, expected_gradients = gradients(alone, packed=False)
    found, found_gradients = gradients([packed_row(prompts, completions) | media_inputs(prompts)], packed=True)
    assert found == pytest.approx(expected, rel=1e-5)
    assert found_gradients.keys() == expected_gradients.keys()
    for name, gradient in expected_gradients.items():
        scale = float(gradient.abs().max())
        assert torch.allclose(found_gradients[name], gradient, rtol=1e-3, atol=1e-4 * scale + 1e-8), name
    assert any(".visual." in name for name in found_gradients) == (vision != "frozen")


def test_logits_are_made_where_a_completion_token_is_predicted(
    builder: PromptBuilder, examples: tuple[list[Prompt], list[Tensor]]
) -> None:
    prompts, completions = examples
    row = packed_row(prompts, completions)
    places, labels = row["logits_to_keep"], row["labels"][0]
    assert len(places) == len(labels) == sum(len(ids_C) for ids_C in completions) + 1
    assert labels[0] == IGNORE
    assert torch.equal(row["input_ids"][0, places[:-1] + 1], labels[1:])  # each place stands before its label
    assert row["segments"].bounds_S1.tolist()[-1] == row["input_ids"].shape[1]


def test_samples_are_shared_out_evenly_and_all_of_them() -> None:
    assert even_rows([5, 9, 1, 4, 3], 2) == [[1, 4], [0, 3, 2]]  # 9 + 3 and 5 + 4 + 1
    shared = even_rows([5, 9, 1, 4, 3], 3)
    assert sorted(sample for row in shared for sample in row) == [0, 1, 2, 3, 4]
    assert [sum([5, 9, 1, 4, 3][sample] for sample in row) for row in shared] == [9, 7, 6]


def test_no_row_is_over_the_budget_but_a_sample_that_is_so_alone() -> None:
    assert rows_needed([5, 5, 5, 5], budget=20, processes=1) == 1
    assert rows_needed([5, 5, 5, 5], budget=19, processes=1) == 2
    assert rows_needed([5, 5, 5, 5], budget=9, processes=1) == 4
    assert rows_needed([5, 5, 5, 5], budget=15, processes=2) == 2
    assert rows_needed([50, 5, 5, 5], budget=15, processes=1) == 2  # the long one alone, the others together
    rows, count = packed_rows([[0, 1, 2, 3], [4, 5, 6, 7]], [5, 5, 5, 5, 1, 1, 1, 1], budget=10, processes=1)
    assert count == 2
    assert rows == [[0, 2], [1, 3], [4, 6], [5, 7]]


def test_steps_are_shuffled_epochs() -> None:
    steps = shuffled_steps(total=6, steps=4, per_step=3, seed=1)
    assert [len(step) for step in steps] == [3, 3, 3, 3]
    assert sorted(steps[0] + steps[1]) == sorted(steps[2] + steps[3]) == list(range(6))
    assert steps == shuffled_steps(6, 4, 3, 1) != shuffled_steps(6, 4, 3, 2)

"""Dense alignment of the embedded model."""

from pathlib import Path

import numpy as np
import pytest
import torch

from stages.embedded.align import align, hits, naming_loss, one_cycle, random_clips
from stages.embedded.language import corpus
from stages.embedded.tiny import write_tiny
from stages.embedded.world.scene import COLUMNS, ROWS, TINTS
from stages.model.inputs import PromptBuilder
from stages.model.load import load_model


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("align") / "model"
    write_tiny(folder, corpus(np.random.default_rng(0), 500), seed=0, prompt="plain")
    return folder


def test_naming_loss_is_the_mean_over_names_that_exist() -> None:
    logits_MV = torch.tensor([[0.5, 0.25, 0.125, 0.125], [0.25, 0.25, 0.25, 0.25]]).log()
    names_MS = torch.tensor([[0, 1], [2, -1]])
    assert naming_loss(logits_MV, names_MS).item() == pytest.approx(np.log([2, 4, 4]).mean())


def test_hits_count_things_only() -> None:
    logits_MV = torch.tensor([[5.0, 4, 3, 2, 1, 0], [0.0, 1, 2, 3, 4, 5], [9.0, 8, 7, 6, 0, 0]])
    names_MS = torch.tensor([[0, 5, 2, 3], [0, 5, 4, 3], [5, -1, 5, 5]])
    assert hits(logits_MV, names_MS) == {"colour": 0.5, "shape": 0.5, "row": 1.0, "column": 1.0}


def test_every_merged_token_has_its_cells_names(untrained: Path) -> None:
    builder = PromptBuilder(untrained)
    batch = next(random_clips(builder, 3, np.random.default_rng(0)))
    assert batch.grid_thw.tolist() == [[4, 6, 6]] * 3
    assert batch.patches_NK.shape == (3 * 4 * 36, 3 * 2 * 64)
    assert batch.names_MS.shape == (3 * 4 * 9, 4)
    shown_M = batch.names_MS[:, 1] >= 0
    assert 0.1 < shown_M.float().mean() < 0.5
    for place, names_S in enumerate(batch.names_MS):
        names = [builder.tokenizer.decode(name).strip() for name in names_S if name >= 0]
        if shown_M[place]:
            assert names[2:] == [ROWS[place % 9 // 3], COLUMNS[place % 3]]
        else:
            assert len(names) == 1
            assert names[0] in TINTS


@pytest.mark.parametrize("steps", range(1, 25))
def test_the_learning_rate_reaches_its_top_for_any_number_of_steps(steps: int) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = one_cycle(optimizer, 1.0, steps)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert all(0 < rate <= 1 for rate in rates)
    if 1 < steps <= 10:
        assert max(rates) == rates[1] == 1


@pytest.mark.slow
def test_alignment_lowers_the_loss_and_is_the_same_every_time(untrained: Path) -> None:
    builder = PromptBuilder(untrained)
    first, second = load_model(untrained), load_model(untrained)
    seen = [align(model, builder, steps=40, clips=4, learning_rate=4e-3, seed=3) for model in (first, second)]
    assert seen[0] == seen[1]
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert seen[0]["colour"] + seen[0]["row"] + seen[0]["column"] > 1.5  # untrained 0.02
    assert torch.equal(
        first.model.language_model.layers[0].mlp.up_proj.weight,
        load_model(untrained).model.language_model.layers[0].mlp.up_proj.weight,
    )

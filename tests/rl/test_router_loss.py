"""The routers' loss of a mixture of experts in T-GRPO."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from stages.rl.scoring import pack, score, use_group_prefix_attention
from tests.rl.conftest import tiny_media, tiny_model, tiny_prompt
from tests.rl.runs import SMALL, train, write_inputs


def test_the_routers_loss_of_a_packed_row_is_that_of_its_tokens() -> None:
    """Of one completion, the packed row is the plain sequence."""
    model = tiny_model("qwen3_vl_moe")
    prompt, ids_C = tiny_prompt("video", 3, 4, seed=1), torch.tensor([5, 6, 7])
    packed = pack([prompt], [[ids_C]])
    expected = model(
        input_ids=packed.input_ids_1L,
        position_ids=packed.position_ids_31L,
        output_router_logits=True,
        **tiny_media([prompt]),
    ).aux_loss
    use_group_prefix_attention(model)
    found = score(model, packed, tiny_media([prompt]), 1.0, router_loss=True).router_loss
    assert found is not None
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    assert score(model, packed, tiny_media([prompt]), 1.0).router_loss is None


def test_tgrpo_trains_routers_with_their_loss_where_it_is_asked_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs, moved = write_inputs(tmp_path, "qwen3_vl_moe"), {}
    for frozen in (True, False):
        folder = tmp_path / str(frozen)
        folder.mkdir()
        monkeypatch.chdir(folder)
        change = {"freeze_router": frozen, "router_loss": 0.0 if frozen else 1.0, "max_steps": 2}
        train(SMALL.model_copy(update=change), inputs, folder)
        (steps,) = folder.glob(".work/tgrpo/*/*/steps.jsonl")
        logged = ["router_loss" in row for row in map(json.loads, steps.read_text().splitlines()) if "reward" in row]
        assert logged == [not frozen] * 2
        before, after = (load_file(path / "model.safetensors") for path in (inputs / "sft", folder / "model"))
        moved[frozen] = [name for name in before if "mlp.gate" in name and not torch.equal(before[name], after[name])]
    assert (moved[True], len(moved[False])) == ([], 3)

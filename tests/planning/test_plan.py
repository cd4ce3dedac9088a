"""Checkpoints in the plan: bytes by hand, and of real ones."""

from dataclasses import replace
from pathlib import Path

import pytest

from stages.model.load import load_config
from stages.planning.memory import Training
from stages.planning.plan import checkpoint
from stages.planning.size import ModelSize, model_size
from tests.planning.test_work import SIZE
from tests.sft_inputs import quick, write_inputs
from tests.test_sft_processes import train

FULL = Training("bf16", 3, None, vision="full", checkpointing=True, processes=8)
OVERHEAD = 1.15  # names, shapes and random states beside the numbers of a small model


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        (FULL, 12 * SIZE.total),  # fp32 weights and two moments
        (replace(FULL, zero=2), (12 + 2) * SIZE.total),
        (replace(FULL, zero=None), (8 + 4) * SIZE.total),
        (replace(FULL, vision="frozen"), 12 * (SIZE.total - 500) + 2 * 500),
        (replace(FULL, zero=None, lora_rank=2, vision="frozen"), 12 * 2 * 60),
    ],
    ids=["ZeRO-3", "ZeRO-2", "without DeepSpeed", "frozen vision", "adapters"],
)
def test_bytes_of_a_checkpoint(how: Training, expected: float) -> None:
    assert checkpoint(SIZE, how) == expected


@pytest.mark.integration
@pytest.mark.parametrize("zero", [2, 3])
def test_shards_on_the_disk_have_the_planned_size_and_fit_their_number_of_processes_only(
    tmp_path: Path, zero: int
) -> None:
    inputs = write_inputs(tmp_path)
    how = {"samples_per_forward": 1, "deepspeed": zero, "save_total_limit": 1}
    train(inputs, tmp_path / "run", 2, **how)
    (folder,) = (tmp_path / "run").glob(".work/sft/*/*/checkpoint-*")
    assert folder.name == "checkpoint-4"
    shards = list(folder.glob("global_step4/*_states.pt"))
    assert len(list(folder.glob("**/*optim_states.pt"))) == 2
    assert not list(folder.glob("**/*.safetensors"))
    size: ModelSize = model_size(load_config(inputs["model"]))
    planned = checkpoint(size, Training("fp32", quick(**how).deepspeed, None, "full", False, 2))
    assert planned <= sum(file.stat().st_size for file in shards) <= OVERHEAD * planned

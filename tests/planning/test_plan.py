"""Checkpoints in the plan: bytes by hand."""

from dataclasses import replace

import pytest

from stages.planning.memory import Training
from stages.planning.plan import checkpoint
from tests.planning.test_work import SIZE

FULL = Training("bf16", 3, None, vision="full", checkpointing=True, processes=8)


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

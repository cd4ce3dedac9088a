"""The cost model by hand."""

import pytest

from stages.planning.size import ModelSize
from stages.planning.work import Shape, Work, decode, encode, prefill, score_group, trained

SIZE = ModelSize(
    blocks=1000, embedding=320, head=0, vision=500, merger=100, adapter=60, vision_adapter=9, layers=2, hidden=8,
    intermediate=16, heads=4, kv_heads=2, head_dim=2, vocabulary=40, deepstack=0,
    vision_layers=3, vision_full_layers=1, vision_hidden=6,
    vision_intermediate=12, patch=4, merge=2, temporal=2, window=4,
)  # fmt: skip
SHAPE = Shape(prompt=10, visual=8, grids=2, completion=5)


def test_the_work_of_a_packed_group_counts_the_prompt_once() -> None:
    # 10 + 3 · 5 tokens; a prompt token sees half of the prompt, each of 15 completion tokens the prompt and its own
    # 5; logits where tokens were drawn
    assert score_group(SHAPE, group=3) == Work(tokens=25, pairs=10 * 5 + 15 * 15, logits=15)
    assert prefill(SHAPE) + prefill(SHAPE) == Work(tokens=20, pairs=100, logits=2)
    assert decode(SHAPE, rows=4) == Work(tokens=20, pairs=20 * 12.5, logits=20)
    # 8 merged tokens are 32 patches, 16 in each of 2 temporal steps
    assert encode(SHAPE, SIZE) == Work(patches=32, frame_pairs=32 * 16)


def test_a_backward_costs_two_forwards_and_checkpointing_one_more() -> None:
    assert trained(Work(tokens=7), checkpointing=False) == Work(tokens=21)
    assert trained(Work(tokens=7), checkpointing=True) == Work(tokens=28)


def test_operations_of_each_kind_of_work() -> None:
    assert Work(tokens=3).flops(SIZE) == 2 * 1000 * 3
    assert Work(pairs=5).flops(SIZE) == 4 * 2 * 4 * 2 * 5  # layers · heads · width, for scores and for values
    assert Work(logits=3).flops(SIZE) == 2 * 8 * 40 * 3
    # 400 block and 100 / 4 merger weights per patch; two windowed layers of 4 patches, one that sees the frame
    assert Work(patches=16, frame_pairs=128).flops(SIZE) == pytest.approx(
        2 * (400 + 25) * 16 + 4 * 6 * (128 + 2 * 4 * 16)
    )

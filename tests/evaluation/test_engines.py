"""How showings become batches of prompts."""

import torch

from stages.evaluate import plan
from stages.evaluation import engines
from stages.evaluation.engines import Showing
from stages.model.inputs import Prompt
from tests.evaluation.prepared import asked


def test_batches_hold_like_lengths_within_the_budget() -> None:
    sizes = {"a": 30, "b": 10, "c": 11, "d": 29}
    shown = [
        engines.Shown(Showing(asked(name), "ordered"), _prompt(length), [0], 1, 8, 8) for name, length in sizes.items()
    ]
    formed = [[each.showing.sample.sample_id for each in batch] for batch in engines.batches(shown, 10, 80)]
    assert formed == [["a", "d"], ["c", "b"]]
    assert [len(batch) for batch in engines.batches(shown, 10, 1)] == [1, 1, 1, 1]


def test_an_image_has_one_order_and_is_asked_blind_too() -> None:
    samples = [asked("v"), asked("i", data_type="image"), asked("gone")]
    assert [showing.key for showing in plan(samples, ["v", "i"], ("ordered", "reversed", "blind"))] == [
        "ordered/v",
        "reversed/v",
        "blind/v",
        "ordered/i",
        "blind/i",
    ]


def _prompt(length: int) -> Prompt:
    zeros = torch.zeros(length, dtype=torch.long)
    return Prompt("q", zeros, zeros.expand(3, -1), length, torch.zeros(0, 1), torch.tensor([[1, 2, 2]]), "video")

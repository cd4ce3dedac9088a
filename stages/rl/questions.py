"""Which questions a run asks, and on which frames."""

import hashlib
import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from stages.data.order import Order, permutation
from stages.data.sample import Sample
from stages.model.inputs import Prompt, PromptBuilder
from stages.video.frame_store import FrameReader

Contrast = Literal["shuffle", "reverse", "single-frame"]

_ORDERS: dict[Contrast, Order] = {"shuffle": "shuffled", "reverse": "reversed", "single-frame": "single-frame"}


@dataclass(frozen=True)
class RolloutQuestion:
    """A sample as prompts on frames in order and on contrast frames.

    `contrast` is None for an image, and where the contrast frames would be the same pictures.
    """

    sample: Sample
    ordered: Prompt
    contrast: Prompt | None


def ask(
    sample: Sample, reader: FrameReader, builder: PromptBuilder, contrast: Contrast | None, seed: int, step: int
) -> RolloutQuestion:
    """The question as the policy meets it at one step.

    The contrast order is drawn anew from the sample, the seed and the step. There are no contrast frames without
    `contrast`, and for two kinds of media: images, and videos that another order leaves as they are (one frame, or
    equal frames). Their p and p̃ would differ by chance alone.
    """
    frames = reader.load(sample.sample_id)
    ordered = builder(sample, frames)
    if contrast is None or sample.data_type == "image":
        return RolloutQuestion(sample, ordered, None)
    order_T = contrast_order(sample, len(frames.frames_THWC), contrast, seed, step)
    if np.array_equal(frames.frames_THWC[order_T], frames.frames_THWC):
        return RolloutQuestion(sample, ordered, None)
    return RolloutQuestion(sample, ordered, builder(sample, frames, order_T))


def contrast_order(sample: Sample, count: int, contrast: Contrast, seed: int, step: int) -> np.ndarray:
    """The places [T] of `count` frames for a step's contrast group."""
    return permutation(count, _ORDERS[contrast], sample.sample_id, seed, step)


def question_plan(total: int, steps: int, per_step: int, updates_per_rollout: int, seed: int) -> list[int]:
    """The questions of all steps, as rows of `total` samples.

    Shuffled epochs follow one another. The updates of one rollout repeat its questions.
    """
    generator = torch.Generator().manual_seed(seed)
    rollouts = math.ceil(steps / updates_per_rollout)
    epochs = math.ceil(rollouts * per_step / total)
    order = torch.cat([torch.randperm(total, generator=generator) for _ in range(epochs)])[: rollouts * per_step]
    repeated = order.view(rollouts, 1, per_step).expand(-1, updates_per_rollout, -1).flatten()
    return repeated[: steps * per_step].tolist()


def replacement(row: int, used: Collection[int], total: int, *seed: int) -> int:
    """Another of `total` questions for one that taught nothing.

    It is drawn from `row` and the parts of the seed, and is none of `used` unless all are.
    """
    drawn = draw_seed(row, *seed) % total
    free = (candidate % total for candidate in range(drawn, drawn + total) if candidate % total not in used)
    return next(free, drawn)


def draw_seed(*parts: int | str) -> int:
    """A seed that depends on its parts alone.

    Process and place in the batch do not change it.
    """
    return int.from_bytes(hashlib.sha256("\0".join(map(str, parts)).encode()).digest()[:6], "big")

"""One rollout: each question's responses on frames in order and on contrast frames, and how they were graded."""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from transformers.modeling_utils import PreTrainedModel

from stages.data.grading import Strictness, extract_answer, grade, is_well_formed
from stages.data.sample import Sample
from stages.generation.generate import Completion, Sampling, generate
from stages.model.inputs import Prompt, PromptBuilder
from stages.rl.vision import Features, encode, encoded_media
from stages.video.frame_store import FrameReader
from stages.video.order import Order, permutation

Contrast = Literal["shuffle", "reverse", "single-frame"]

_ORDERS: dict[Contrast, Order] = {"shuffle": "shuffled", "reverse": "reversed", "single-frame": "single-frame"}


@dataclass(frozen=True)
class RolloutQuestion:
    """A sample with its frames in order and, for a video, in the contrast order: None where that would show the same pictures."""

    sample: Sample
    ordered: Prompt
    contrast: Prompt | None


@dataclass(frozen=True)
class Group:
    """A question's G responses on ordered frames, its K on contrast frames (none without any), and shared vision features."""

    question: RolloutQuestion
    ordered: list[Completion]
    contrast: list[Completion]
    features: Features | None


def ask(
    sample: Sample, reader: FrameReader, builder: PromptBuilder, contrast: Contrast, seed: int, step: int
) -> RolloutQuestion:
    """The question as the policy meets it at one step; the contrast order is drawn anew from the sample, the seed and the step.

    An image has no contrast group, nor has a video that the order does not change, like one of a single frame or of equal frames: its
    responses would differ by chance alone, and so would p and p̃.
    """
    frames = reader.load(sample.sample_id)
    ordered = builder(sample, frames)
    if sample.data_type == "image":
        return RolloutQuestion(sample, ordered, None)
    order_T = permutation(len(frames.frames_THWC), _ORDERS[contrast], sample.sample_id, seed, step)
    if np.array_equal(frames.frames_THWC[order_T], frames.frames_THWC):
        return RolloutQuestion(sample, ordered, None)
    return RolloutQuestion(sample, ordered, builder(sample, frames, order_T))


def roll_out(
    model: PreTrainedModel,
    builder: PromptBuilder,
    questions: Sequence[RolloutQuestion],
    group_size: int,
    contrast_size: int,
    sampling: Sampling,
    seed: int,
    step: int,
    share_features: bool,
) -> list[Group]:
    """Sample all responses of all questions together: each prompt is encoded and prefilled once.

    With `share_features` the vision features are kept for scoring, which is right only if the vision tower is frozen.
    """
    contrasts = [question.contrast for question in questions if question.contrast is not None] if contrast_size else []
    prompts = [*(question.ordered for question in questions), *contrasts]
    features = encode(model, builder, prompts) if share_features else None
    responses = generate(
        model,
        builder,
        prompts,
        [group_size] * len(questions) + [contrast_size] * len(contrasts),
        sampling,
        [_draw_seed(seed, step, b < len(questions), prompt.sample_id) for b, prompt in enumerate(prompts)],
        media=None if features is None else encoded_media(features),
    )
    rest = iter(responses[len(questions) :])
    return [
        Group(
            question=question,
            ordered=responses[b],
            contrast=next(rest) if contrast_size and question.contrast is not None else [],
            features=None if features is None else features[b],
        )
        for b, question in enumerate(questions)
    ]


def replacement(row: int, used: Collection[int], total: int, *seed: int) -> int:
    """Another of `total` questions for one that taught nothing, drawn from the seed parts; not one of `used` unless all are."""
    drawn = _draw_seed(row, *seed) % total
    free = (candidate % total for candidate in range(drawn, drawn + total) if candidate % total not in used)
    return next(free, drawn)


def _draw_seed(*parts: int | str) -> int:
    """A seed that does not depend on which process, or which place of the batch, the question has."""
    return int.from_bytes(hashlib.sha256("\0".join(map(str, parts)).encode()).digest()[:6], "big")


@dataclass(frozen=True)
class Grades:
    """What was measured on the responses of B questions. Rows of `contrast_BK` without a contrast group (see `has_contrast_B`) are 0."""

    accuracy_BG: Tensor
    format_BG: Tensor
    lengths_BG: Tensor
    truncated_BG: Tensor
    contrast_BK: Tensor
    has_contrast_B: Tensor


def grade_groups(groups: Sequence[Group], contrast_size: int, rules: Strictness) -> Grades:
    """Grade every response by its question's answer type."""
    ordered = [group.ordered for group in groups]
    return Grades(
        accuracy_BG=_float64([[accuracy(group, response, rules) for response in group.ordered] for group in groups]),
        format_BG=_float64([[float(is_well_formed(response.text, rules)) for response in row] for row in ordered]),
        lengths_BG=torch.tensor([[len(response.ids_C) for response in row] for row in ordered]),
        truncated_BG=torch.tensor([[response.truncated for response in row] for row in ordered]),
        contrast_BK=_float64(
            [
                [accuracy(group, response, rules) for response in group.contrast] or [0.0] * contrast_size
                for group in groups
            ]
        ),
        has_contrast_B=torch.tensor([bool(group.contrast) for group in groups]),
    )


def _float64(values: list[list[float]]) -> Tensor:
    """In fp32 the mean of equal rewards can be off by a rounding, which a std of 0 + ε turns into an advantage."""
    return torch.tensor(values, dtype=torch.float64)


def accuracy(group: Group, response: Completion, rules: Strictness) -> float:
    """The accuracy reward of one response."""
    sample = group.question.sample
    return grade(extract_answer(response.text, rules), sample.answer, sample.problem_type, rules)

"""How the responses of a rollout were graded, each of them once."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stages.data.grading import Strictness, extract_answer, grade, is_well_formed
from stages.data.grading.thought import FramesNamed, frames_named
from stages.data.sample import Sample
from stages.generation.generate import Completion
from stages.rl.likelihood import Gains
from stages.rl.rollout import Group


@dataclass(frozen=True)
class GradedResponse:
    """A response with its answer and its grades.

    `answer` is None where none was found; `accuracy` is the accuracy reward.
    """

    completion: Completion
    answer: str | None
    accuracy: float
    well_formed: bool
    frames: FramesNamed


@dataclass(frozen=True)
class GradedGroup:
    """A group and its graded responses.

    `gains` and `thoughts` (stages/rl/likelihood.py) and `agreements` (`answer_agreements`) are those of the ordered
    responses, empty where nothing asks for them.
    """

    group: Group
    ordered: list[GradedResponse]
    contrast: list[GradedResponse]
    gains: list[Gains]
    thoughts: list[float]
    agreements: list[float]


@dataclass(frozen=True)
class Grades:
    """What was measured on the responses of B questions.

    Lengths are in tokens. Rows of `contrast_BK` are 0 where `has_contrast_B`, which says that there are contrast
    frames, is false. likelihood_BG, answer_BG and thought_BG are the gains in nats per token, and agreement_BG is the
    agreement with the contrast answers; all four are NaN where they were not measured. mentions_BG and looks_BG say how
    often a response names a frame, and whether it names two different ones.
    """

    accuracy_BG: Tensor
    format_BG: Tensor
    lengths_BG: Tensor
    truncated_BG: Tensor
    contrast_BK: Tensor
    has_contrast_B: Tensor
    likelihood_BG: Tensor
    answer_BG: Tensor
    thought_BG: Tensor
    agreement_BG: Tensor
    mentions_BG: Tensor
    looks_BG: Tensor


def grade_group(
    group: Group,
    strictness: Strictness,
    gains: Sequence[Gains] = (),
    thoughts: Sequence[float] = (),
    compare_answers: bool = False,
) -> GradedGroup:
    """Grade every response of a group by its question's answer type.

    With `compare_answers` the ordered answers are also compared with the contrast answers.
    """

    def _graded(response: Completion) -> GradedResponse:
        sample, answer = group.question.sample, extract_answer(response.text, strictness)
        return GradedResponse(
            completion=response,
            answer=answer,
            accuracy=grade(answer, sample.answer, sample.problem_type, sample.options, strictness),
            well_formed=is_well_formed(response.text, strictness),
            frames=frames_named(response.text),
        )

    ordered, contrast = ([_graded(each) for each in responses] for responses in (group.ordered, group.contrast))
    agreements = answer_agreements(group.question.sample, ordered, contrast, strictness) if compare_answers else []
    return GradedGroup(group, ordered, contrast, list(gains), list(thoughts), agreements)


def answer_agreements(
    sample: Sample, ordered: Sequence[GradedResponse], contrast: Sequence[GradedResponse], strictness: Strictness
) -> list[float]:
    """How far ordered answers agree with contrast answers, in [0, 1].

    It is the mean grade of the answer when each contrast answer in turn is taken as the right one. Contrast responses
    without an answer are left out. If none has an answer the agreement is 1, because nothing shows a difference.
    """
    others = [other.answer for other in contrast if other.answer is not None]
    if not others:
        return [1.0] * len(ordered)
    kind = sample.problem_type, sample.options, strictness
    return [sum(grade(each.answer, other, *kind) for other in others) / len(others) for each in ordered]


def grades_of(groups: Sequence[GradedGroup], contrast_size: int) -> Grades:
    """The grades of several groups as tensors; `contrast_size` is K."""
    ordered, contrast = [group.ordered for group in groups], [group.contrast for group in groups]
    no_contrast = [0.0] * contrast_size
    unknown = [math.nan] * len(ordered[0])
    return Grades(
        accuracy_BG=_float64([[response.accuracy for response in row] for row in ordered]),
        format_BG=_float64([[float(response.well_formed) for response in row] for row in ordered]),
        lengths_BG=torch.tensor([[len(response.completion.ids_C) for response in row] for row in ordered]),
        truncated_BG=torch.tensor([[response.completion.truncated for response in row] for row in ordered]),
        contrast_BK=_float64([[response.accuracy for response in row] or no_contrast for row in contrast]),
        has_contrast_B=torch.tensor([group.group.question.contrast is not None for group in groups]),
        likelihood_BG=_float64([[gain.likelihood for gain in group.gains] or unknown for group in groups]),
        answer_BG=_float64([[gain.answer for gain in group.gains] or unknown for group in groups]),
        thought_BG=_float64([group.thoughts or unknown for group in groups]),
        agreement_BG=_float64([group.agreements or unknown for group in groups]),
        mentions_BG=torch.tensor([[response.frames.mentions for response in row] for row in ordered]),
        looks_BG=torch.tensor([[response.frames.different > 1 for response in row] for row in ordered]),
    )


def _float64(values: list[list[float]]) -> Tensor:
    """Rewards as a tensor in double precision.

    In fp32 the mean of equal rewards can be off by a rounding, which a std of 0 + ε turns into an advantage.
    """
    return torch.tensor(values, dtype=torch.float64)

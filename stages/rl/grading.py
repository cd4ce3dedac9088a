"""How the responses of a rollout were graded, each of them once."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stages.data.grading import Strictness, extract_answer, grade, is_well_formed
from stages.generation.generate import Completion
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


@dataclass(frozen=True)
class GradedGroup:
    """A group and its graded responses.

    `gains` are those of the ordered responses (stages/rl/likelihood.py), empty where nothing asks for them.
    """

    group: Group
    ordered: list[GradedResponse]
    contrast: list[GradedResponse]
    gains: list[float]


@dataclass(frozen=True)
class Grades:
    """What was measured on the responses of B questions.

    Lengths are in tokens. Rows of `contrast_BK` are 0 where `has_contrast_B` is false; so are those of `gains_BG`,
    the likelihood gains in nats per token.
    """

    accuracy_BG: Tensor
    format_BG: Tensor
    lengths_BG: Tensor
    truncated_BG: Tensor
    contrast_BK: Tensor
    has_contrast_B: Tensor
    gains_BG: Tensor


def grade_group(group: Group, strictness: Strictness, gains: Sequence[float] = ()) -> GradedGroup:
    """Grade every response of a group by its question's answer type."""

    def _graded(response: Completion) -> GradedResponse:
        sample, answer = group.question.sample, extract_answer(response.text, strictness)
        return GradedResponse(
            completion=response,
            answer=answer,
            accuracy=grade(answer, sample.answer, sample.problem_type, sample.options, strictness),
            well_formed=is_well_formed(response.text, strictness),
        )

    ordered, contrast = ([_graded(each) for each in responses] for responses in (group.ordered, group.contrast))
    return GradedGroup(group, ordered, contrast, list(gains))


def grades_of(groups: Sequence[GradedGroup], contrast_size: int) -> Grades:
    """The grades of several groups as tensors; `contrast_size` is K."""
    ordered, contrast = [group.ordered for group in groups], [group.contrast for group in groups]
    no_contrast = [0.0] * contrast_size
    return Grades(
        accuracy_BG=_float64([[response.accuracy for response in row] for row in ordered]),
        format_BG=_float64([[float(response.well_formed) for response in row] for row in ordered]),
        lengths_BG=torch.tensor([[len(response.completion.ids_C) for response in row] for row in ordered]),
        truncated_BG=torch.tensor([[response.completion.truncated for response in row] for row in ordered]),
        contrast_BK=_float64([[response.accuracy for response in row] or no_contrast for row in contrast]),
        has_contrast_B=torch.tensor([bool(row) for row in contrast]),
        gains_BG=_float64([group.gains or [0.0] * len(group.ordered) for group in groups]),
    )


def _float64(values: list[list[float]]) -> Tensor:
    """Rewards as a tensor in double precision.

    In fp32 the mean of equal rewards can be off by a rounding, which a std of 0 + ε turns into an advantage.
    """
    return torch.tensor(values, dtype=torch.float64)

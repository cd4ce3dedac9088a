"""Values of all processes, in the order of the processes' numbers."""

from collections.abc import Sequence
from dataclasses import fields
from typing import cast

import torch
from accelerate import Accelerator
from torch import Tensor

from stages.data.sample import PROBLEM_TYPES
from stages.rl.grading import Grades
from stages.rl.questions import draw_seed


def gather(accelerator: Accelerator, values: Tensor) -> Tensor:
    """The values of all processes, one process's rows after the other's."""
    return cast(Tensor, accelerator.gather(values.to(accelerator.device)))


def gather_grades(accelerator: Accelerator, grades: Grades) -> Grades:
    """The grades of all processes, on the CPU."""
    return Grades(
        **{field.name: gather(accelerator, getattr(grades, field.name)).cpu() for field in fields(grades)},
    )


def gather_types(accelerator: Accelerator, types: Sequence[str]) -> list[str]:
    """The answer types of the questions of all processes."""
    numbers_B = torch.tensor([PROBLEM_TYPES.index(kind) for kind in types])
    return [PROBLEM_TYPES[number] for number in gather(accelerator, numbers_B).tolist()]


def gather_names(accelerator: Accelerator, sample_ids: Sequence[str]) -> list[str]:
    """A name for each question of all processes, from its id alone."""
    numbers_B = torch.tensor([draw_seed(sample_id) for sample_id in sample_ids])
    return [str(number) for number in gather(accelerator, numbers_B).tolist()]

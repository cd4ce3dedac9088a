"""Values of all processes."""

from collections.abc import Mapping
from dataclasses import fields
from typing import cast

import torch
from accelerate import Accelerator
from torch import Tensor

from stages.rl.grading import Grades
from stages.rl.sharing import SharedStep


def gather(accelerator: Accelerator, values: Tensor) -> Tensor:
    """The values of all processes, one process's rows after the other's."""
    return cast(Tensor, accelerator.gather(values.to(accelerator.device)))


def gather_grades(accelerator: Accelerator, grades: Grades, shared: SharedStep) -> Grades:
    """The grades of a step's questions, in the plan's order.

    They are on the CPU.
    """
    return Grades(
        **{
            field.name: gather(accelerator, getattr(grades, field.name)).cpu()[shared.order] for field in fields(grades)
        },
    )


def idle_shares(accelerator: Accelerator, seconds: Mapping[str, float]) -> dict[str, float]:
    """The share of a step before its update in which processes wait.

    There is one for each process, `idle_0` and so on, and `idle`, their mean. `seconds` are those of this process, by
    phase. The result is empty where nothing waited: on one process, and at steps without a rollout.
    """
    if "waiting" not in seconds:
        return {}
    share = seconds["waiting"] / (sum(seconds.values()) - seconds["update"])
    shares = gather(accelerator, torch.tensor([share])).tolist()
    return {"idle": sum(shares) / len(shares)} | {f"idle_{process}": each for process, each in enumerate(shares)}

"""Grades that are written out."""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from stages.rl.grading import Grades

Rows = Sequence[Sequence[float]]


def grades(accuracy: Rows, contrast: Rows, has_contrast: Sequence[bool] | None = None, **others: Tensor) -> Grades:
    """Grades of well-formed responses of 10 tokens; `others` are further fields."""
    accuracy_BG = torch.tensor(accuracy, dtype=torch.float64)
    unknown_BG = torch.full_like(accuracy_BG, math.nan)
    plain = Grades(
        accuracy_BG=accuracy_BG,
        format_BG=torch.ones_like(accuracy_BG),
        lengths_BG=torch.full(accuracy_BG.shape, 10),
        truncated_BG=torch.zeros(accuracy_BG.shape, dtype=torch.bool),
        contrast_BK=torch.tensor(contrast, dtype=torch.float64),
        has_contrast_B=torch.tensor(has_contrast or [True] * len(accuracy)),
        likelihood_BG=unknown_BG,
        answer_BG=unknown_BG,
        thought_BG=unknown_BG,
        agreement_BG=unknown_BG,
        mentions_BG=torch.zeros(accuracy_BG.shape, dtype=torch.int64),
        looks_BG=torch.zeros(accuracy_BG.shape, dtype=torch.bool),
    )
    return replace(plain, **others)

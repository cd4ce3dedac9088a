"""The gate: no temporal term where the order does not matter."""

from collections.abc import Sequence

import torch
from torch import Tensor

from stages.rl.grading import Grades
from stages.rl.temporal import correct_share


class Gate:
    """Remembers p and p̃ of each question over its last visits.

    `history` has (p, p̃) of each visit by the question's name. It belongs to a checkpoint.
    """

    def __init__(self, visits: int, correct_above: float) -> None:
        self.visits, self.correct_above = visits, correct_above
        self.history: dict[str, list[tuple[float, float]]] = {}

    def closed(self, names: Sequence[str], grades: Grades) -> Tensor:
        """Note a visit of each question; returns which are closed, bool [B].

        A question is closed where p̃ ≥ p over its last `visits`. A question with fewer visits stays open, and so does
        one without a contrast group. With 0 visits there is no gate.
        """
        closed_B = torch.zeros(len(names), dtype=torch.bool)
        if self.visits == 0:
            return closed_B
        ordered_B = correct_share(grades.accuracy_BG, self.correct_above).tolist()
        contrast_B = correct_share(grades.contrast_BK, self.correct_above).tolist()
        for b, name in enumerate(names):
            if grades.has_contrast_B[b]:
                visits = [*self.history.get(name, []), (ordered_B[b], contrast_B[b])][-self.visits :]
                self.history[name] = visits
                ordered, contrast = (sum(shares) for shares in zip(*visits, strict=True))
                closed_B[b] = len(visits) == self.visits and contrast >= ordered
        return closed_B

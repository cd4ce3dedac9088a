"""Which process takes which questions of a step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from stages.data.sample import Sample
from stages.model.packing import even_rows
from stages.rl.params import StepParams

DECAY = 0.9  # weight of the past in the mean length of responses


@dataclass(frozen=True)
class SharedStep:
    """The questions of a rollout and the processes that take them.

    `rows` are the questions of all processes, in the order of the plan. `shares` has the micro-batches of each process,
    as places in `rows`. What a micro-batch holds does not depend on the number of processes.
    """

    rows: list[int]
    shares: list[list[list[int]]]

    def places(self, process: int) -> list[int]:
        """The places of one process, in its order."""
        return [place for batch in self.shares[process] for place in batch]

    def rows_of(self, process: int) -> list[int]:
        """The questions of one process, in its order."""
        return [self.rows[place] for place in self.places(process)]

    @property
    def order(self) -> Tensor:
        """Brings values of all processes into the order of `rows`.

        The values stand one process's after the other's.
        """
        return torch.tensor([place for process in range(len(self.shares)) for place in self.places(process)]).argsort()


def shared_step(rows: Sequence[int], batch_size: int, processes: int, costs: Sequence[float]) -> SharedStep:
    """Micro-batches of `batch_size` questions, shared out by their expected cost.

    Every process takes the same number of micro-batches, because ZeRO-3 needs all processes in each forward. The first
    process has the first micro-batch.
    """
    batches = [list(range(first, first + batch_size)) for first in range(0, len(rows), batch_size)]
    of_batches = [sum(costs[place] for place in batch) for batch in batches]
    shares = sorted(map(sorted, even_rows(of_batches, processes, most=len(batches) // processes)))
    return SharedStep(list(rows), [[batches[batch] for batch in share] for share in shares])


@dataclass
class StepPlan:
    """The questions of all steps, shared out over the processes.

    Args:
        rows: The questions of all steps (`question_plan`), as rows of `samples`.
        prompt_tokens: The length of each sample's prompt.
        batch_size: Questions of a micro-batch.
    """

    params: StepParams
    rows: Sequence[int]
    samples: Sequence[Sample]
    prompt_tokens: Sequence[int]
    per_step: int
    batch_size: int
    processes: int
    lengths: dict[str, float] = field(default_factory=dict)  # mean tokens of a response, by answer type
    _newest: dict[str, float] = field(default_factory=dict)

    def step_and_next(self, step: int) -> tuple[SharedStep, SharedStep]:
        """The rollout at a step, and the one after it.

        The next one is known before this one's responses are. So its frames can be read meanwhile.
        """
        this, self.lengths = self._shared(step), self._newest
        return this, self._shared(step + self.params.updates_per_rollout)

    def note(self, samples: Sequence[Sample], lengths_BG: Tensor) -> None:
        """Note the lengths of a rollout's responses."""
        means_B, newest = lengths_BG.double().mean(dim=1), dict(self.lengths)
        kinds = [sample.problem_type for sample in samples]
        for kind in sorted(set(kinds)):
            mean = float(means_B[torch.tensor([each == kind for each in kinds])].mean())
            newest[kind] = DECAY * newest.get(kind, mean) + (1 - DECAY) * mean
        self._newest = newest

    def cost(self, row: int) -> float:
        """The expected tokens of a question's prompts and responses.

        The length of a response is the mean of its answer type. A type without one has the mean of the others.
        """
        sample, prompt = self.samples[row], self.prompt_tokens[row]
        known = self.lengths.values()
        response = self.lengths.get(sample.problem_type, sum(known) / max(1, len(known)))
        ordered = prompt + self.params.group_size * response
        has_contrast = sample.data_type == "video" and self.params.uses_contrast
        return ordered + (prompt + self.params.contrast_size * response) * has_contrast

    def _shared(self, step: int) -> SharedStep:
        rows = self.rows[step * self.per_step : (step + 1) * self.per_step]
        return shared_step(rows, self.batch_size, self.processes, [self.cost(row) for row in rows])

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, as JSON."""
        return {"lengths": self.lengths, "newest_lengths": self._newest}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` gave; checkpoints of older versions know no lengths."""
        self.lengths, self._newest = state.get("lengths", {}), state.get("newest_lengths", {})

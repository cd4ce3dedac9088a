"""The rollouts of one process: ask, sample, grade, replace idle groups."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import nn
from transformers.modeling_utils import PreTrainedModel

from stages.data.sample import Sample
from stages.generation.sampling import Sampling
from stages.model.inputs import PromptBuilder
from stages.model.vision import FeatureCache
from stages.rl.ahead import QuestionsAhead
from stages.rl.exchange import gather_grades
from stages.rl.grading import GradedGroup, Grades, grade_group, grades_of
from stages.rl.likelihood import Gains, likelihood_gains, thought_gains
from stages.rl.params import StepParams
from stages.rl.questions import RolloutQuestion, replacement
from stages.rl.rewards import group_rewards, idle
from stages.rl.rollout import Group, roll_out
from stages.rl.served import ServedRollouts
from stages.rl.sharing import SharedStep
from stages.rl.stopwatch import Stopwatch
from stages.video.frame_store import FrameReader


@dataclass(frozen=True)
class Sampled:
    """The answers to a step's questions, with their grades.

    `groups` are those of this process. `samples` and `grades` are of all processes, in the order of the plan.
    """

    groups: list[GradedGroup]
    samples: list[Sample]
    grades: Grades
    resampled: int


class Sampler:
    """Samples responses to questions, which are named by their row in `samples`."""

    def __init__(
        self,
        params: StepParams,
        samples: Sequence[Sample],
        reader: FrameReader,
        builder: PromptBuilder,
        stopwatch: Stopwatch,
        features: FeatureCache | None,
        served: ServedRollouts | None = None,
    ) -> None:
        """`features` is None where the vision tower is trained.

        `served` are the servers that draw the responses, None for this process.
        """
        self.params, self.samples, self.builder, self.stopwatch = params, samples, builder, stopwatch
        self.features, self.served = features, served
        contrast = params.contrast if params.uses_contrast else None
        self.questions = QuestionsAhead(samples, reader, builder, contrast, params.seed)

    def sample(
        self, accelerator: Accelerator, model: PreTrainedModel, shared: SharedStep, step: int, next_rows: Sequence[int]
    ) -> Sampled:
        """The graded groups of this process, and the grades of all.

        Questions are replaced under `dynamic_sampling: resample`: all processes draw the same ones, and each answers
        those at its places. Those of `next_rows` are prepared meanwhile.
        """
        params, rows = self.params, list(shared.rows)
        places, resampled = shared.places(accelerator.process_index), 0
        questions = self._take([rows[place] for place in places], step)
        self.questions.prepare(next_rows, step + params.updates_per_rollout)
        if self.served:
            with self.stopwatch.measure("adapter"):
                self.served.renew(model, questions, step)
        groups = dict(zip(places, self._roll_out(accelerator, model, questions, step), strict=True))
        grades = self._grades(accelerator, groups.values(), shared)
        for draw in range(params.resample_rounds if params.dynamic_sampling == "resample" else 0):
            replaced = idle(group_rewards(grades, params)).nonzero()[:, 0].tolist()
            if not replaced:
                break
            for place in replaced:
                rows[place] = replacement(rows[place], rows, len(self.samples), params.seed, step, draw)
            if own := [place for place in replaced if place in groups]:
                questions = self._take([rows[place] for place in own], step)
                others = self._roll_out(accelerator, model, questions, step)
                groups.update(zip(own, others, strict=True))
            grades = self._grades(accelerator, groups.values(), shared)
            resampled += len(replaced)
        return Sampled(list(groups.values()), [self.samples[row] for row in rows], grades, resampled)

    def _grades(self, accelerator: Accelerator, groups: Iterable[GradedGroup], shared: SharedStep) -> Grades:
        """The grades of all processes; the time measured is that of waiting."""
        grades = grades_of(list(groups), self.params.contrast_size)
        with self.stopwatch.measure("waiting"):
            return gather_grades(accelerator, grades, shared)

    def _take(self, rows: Sequence[int], step: int) -> list[RolloutQuestion]:
        """The questions of a step; the time measured is that of waiting."""
        with self.stopwatch.measure("questions"):
            return self.questions.take(rows, step)

    def _roll_out(
        self,
        accelerator: Accelerator,
        model: PreTrainedModel,
        questions: Sequence[RolloutQuestion],
        step: int,
    ) -> list[GradedGroup]:
        params, compared = self.params, self.params.compared(step)
        with self.stopwatch.measure("rollout"), accelerator.autocast():
            groups = self._drawn(model, questions, step)
        gains: list[list[Gains]] = [[]] * len(groups)
        thoughts: list[list[float]] = [[]] * len(groups)
        if "likelihood" in compared:
            with self.stopwatch.measure("contrast"), accelerator.autocast():
                gains = [likelihood_gains(model, self.builder, group, params.temperature) for group in groups]
        if "thoughts" in compared:
            with self.stopwatch.measure("contrast"), accelerator.autocast():
                thoughts = [thought_gains(model, self.builder, group, params.temperature) for group in groups]
        with self.stopwatch.measure("grading"):
            return [
                grade_group(group, params.grading, gain, thought, "answers" in compared)
                for group, gain, thought in zip(groups, gains, thoughts, strict=True)
            ]

    def _drawn(self, model: PreTrainedModel, questions: Sequence[RolloutQuestion], step: int) -> list[Group]:
        """The groups, drawn by the servers or by this process."""
        params = self.params
        if self.served:
            return self.served.roll_out(model, questions, step, self.features)
        return roll_out(
            model,
            self.builder,
            questions,
            params.group_size,
            params.contrast_size,
            Sampling(params.max_new_tokens, params.temperature, params.top_p),
            params.seed,
            step,
            self.features,
            most_rows=params.rollout_rows,
        )


@torch.no_grad()
def update_copy(copy: PreTrainedModel, model: nn.Module) -> None:
    """Bring a whole copy of the policy up to date.

    ZeRO-3 has spread the weights of `model` over the processes.
    """
    import deepspeed

    for own, weight in zip(copy.parameters(), model.parameters(), strict=True):
        with deepspeed.zero.GatheredParameters([weight]):
            own.copy_(weight)

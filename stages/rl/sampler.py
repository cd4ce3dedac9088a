"""The rollouts of one process: ask, sample, grade, replace idle groups."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import torch
from torch import nn
from transformers.modeling_utils import PreTrainedModel

from stages.data.sample import Sample
from stages.generation.sampling import Sampling
from stages.model.inputs import PromptBuilder
from stages.model.vision import FeatureCache
from stages.rl.ahead import QuestionsAhead
from stages.rl.grading import GradedGroup, grade_group, grades_of
from stages.rl.likelihood import Gains, likelihood_gains
from stages.rl.params import StepParams
from stages.rl.questions import RolloutQuestion, replacement
from stages.rl.rewards import group_rewards, idle
from stages.rl.rollout import Group, roll_out
from stages.rl.served import ServedRollouts
from stages.rl.stopwatch import Stopwatch
from stages.video.frame_store import FrameReader


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
        self.questions = QuestionsAhead(samples, reader, builder, params.contrast, params.seed)

    def sample(
        self,
        model: PreTrainedModel,
        rows: Sequence[int],
        step: int,
        next_rows: Sequence[int],
        autocast: Callable[[], AbstractContextManager],
    ) -> tuple[list[GradedGroup], int]:
        """The graded groups of `rows`, and how many questions were replaced.

        Questions are replaced under `dynamic_sampling: resample`. Those of `next_rows` are prepared meanwhile.
        """
        params = self.params
        questions = self._take(rows, step)
        self.questions.prepare(next_rows, step + params.updates_per_rollout)
        if self.served:
            with self.stopwatch.measure("adapter"):
                self.served.renew(model, questions, step)
        groups, asked, resampled = self._roll_out(model, questions, step, autocast), list(rows), 0
        for draw in range(params.resample_rounds if params.dynamic_sampling == "resample" else 0):
            rewards = group_rewards(grades_of(groups, params.contrast_size), params)
            places = idle(rewards, params.temporal).nonzero()[:, 0].tolist()
            if not places:
                break
            for b in places:
                asked[b] = replacement(asked[b], asked, len(self.samples), params.seed, step, draw)
            others = self._take([asked[b] for b in places], step)
            replaced = self._roll_out(model, others, step, autocast)
            for b, group in zip(places, replaced, strict=True):
                groups[b] = group
            resampled += len(places)
        return groups, resampled

    def _take(self, rows: Sequence[int], step: int) -> list[RolloutQuestion]:
        """The questions of a step; the time measured is that of waiting."""
        with self.stopwatch.measure("questions"):
            return self.questions.take(rows, step)

    def _roll_out(
        self,
        model: PreTrainedModel,
        questions: Sequence[RolloutQuestion],
        step: int,
        autocast: Callable[[], AbstractContextManager],
    ) -> list[GradedGroup]:
        params = self.params
        with self.stopwatch.measure("rollout"), autocast():
            groups = self._drawn(model, questions, step)
        gains: list[list[Gains]] = [[]] * len(groups)
        if params.measures_gains(step):
            with self.stopwatch.measure("contrast"), autocast():
                gains = [likelihood_gains(model, self.builder, group, params.temperature) for group in groups]
        compare = params.temporal == "relation"
        with self.stopwatch.measure("grading"):
            return [grade_group(group, params.grading, own, compare) for group, own in zip(groups, gains, strict=True)]

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

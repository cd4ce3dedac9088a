"""The T-GRPO step inside transformers' Trainer, which brings resume, DeepSpeed, LoRA, schedules and loggers.

One optimizer step: roll out (sample, grade) → rewards → advantages → reference scores, then per micro-batch: policy scores → loss.
"""

import logging
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from transformers.modeling_utils import PreTrainedModel
from transformers.training_args import TrainingArguments

from stages.data.grading import Strictness
from stages.data.sample import PROBLEM_TYPES, Sample
from stages.generation.generate import Sampling
from stages.model.inputs import PromptBuilder
from stages.model.training import ResumableTrainer
from stages.rl.advantages import Scale, scaled_rewards, temporal_advantages, temporal_effect, update_ema
from stages.rl.guards import Guards, trip
from stages.rl.loss import LossParams, StepSize, policy_loss
from stages.rl.metrics import rollout_metrics, rollout_rows, steps
from stages.rl.rewards import RewardParams, Rewards, group_rewards, idle
from stages.rl.rollout import Contrast, Grades, Group, ask, grade_groups, replacement, roll_out
from stages.rl.scoring import Packed, pack, score
from stages.rl.vision import encoded_media, pixel_media
from stages.run.errors import UserError
from stages.run.files import write_json
from stages.video.frame_store import FrameReader

log = logging.getLogger(__name__)


class Recipe(RewardParams):
    """What T-GRPO does at every step; the defaults are the paper's (paper.md §2)."""

    group_size: int = Field(default=8, ge=2)  # G, responses on ordered frames
    contrast_size: int = Field(default=4, ge=0)  # G̃, responses on contrast frames; 0 only without a temporal reward
    contrast: Contrast = "shuffle"
    grading: Strictness = "default"
    scale: Scale = "group"
    ema_decay: float = Field(default=0.9, ge=0, lt=1)
    loss: LossParams = LossParams()
    updates_per_rollout: int = Field(default=1, ge=1)
    dynamic_sampling: Literal["off", "skip", "resample"] = (
        "off"  # groups without variance: kept, left out, or first asked anew (DAPO)
    )
    resample_rounds: int = Field(
        default=3, ge=1
    )  # other questions asked in place of one; what then has no variance is left out
    max_new_tokens: int = Field(default=768, ge=1)
    temperature: float = Field(default=1.0, gt=0)
    top_p: float = Field(default=0.95, gt=0, le=1)
    freeze_vision: bool = False
    guards: Guards = Guards()
    seed: int = Field(default=42, ge=0)


@dataclass
class MicroBatch:
    """What one forward and backward needs. `old_logps_RC` is filled by the first update, which still is the policy that sampled."""

    packed: Packed
    media: dict[str, Any]
    advantages_R: Tensor
    reference_logps_RC: Tensor | None
    old_logps_RC: Tensor | None = None


class TgrpoTrainer(ResumableTrainer):
    """Trains `model` on rows of `samples`, named by the numbers in `train_dataset` (see `question_plan`).

    `reference` is the frozen model of the KL term: None stands for `model` with its adapters off. `kept` is a folder for the rollouts
    that the report shows, `keep_every` the steps between them. A tripped guard or a loss that is not finite raises UserError.
    """

    def __init__(
        self,
        model: nn.Module,
        args: TrainingArguments,
        recipe: Recipe,
        train_dataset: Sequence[int],
        samples: Sequence[Sample],
        reader: FrameReader,
        builder: PromptBuilder,
        reference: PreTrainedModel | None,
        sampler: PreTrainedModel | None,
        kept: Path,
        keep_every: int,
    ) -> None:
        super().__init__(model=model, args=args, train_dataset=train_dataset, data_collator=_rows)  # type: ignore[arg-type]  # any sized sequence
        self.recipe, self.samples, self.reader, self.builder = recipe, samples, reader, builder
        self.reference, self.sampler = reference, sampler
        self.kept, self.keep_every = kept, keep_every
        self.ema: dict[str, float] = {}
        self.seconds: dict[str, float] = {}
        self._micro_batches: list[MicroBatch] = []
        self._size = StepSize(rows=1, tokens=1)
        self._rollout_metrics: dict[str, float] = {}
        self._update_metrics: list[Tensor] = []

    # The algorithm

    def get_batch_samples(self, epoch_iterator: Iterator, num_batches: int, device: torch.device) -> tuple[list, None]:
        """One rollout for all micro-batches of an optimizer step (`updates_per_rollout` steps share it)."""
        rows = [next(epoch_iterator)["rows"].tolist() for _ in range(num_batches)]
        if self.state.global_step % self.recipe.updates_per_rollout == 0:
            with self._timed("rollout"):
                groups, resampled = self._sample([row for batch in rows for row in batch])
            rewards, advantages_BG = self._assess(groups)
            chosen = self._choose(rewards, [len(batch) for batch in rows])
            with self._timed("reference"):
                self._micro_batches = [
                    self._prepare([groups[b] for b in batch], advantages_BG[batch]) for batch in chosen
                ]
            self._size = self._step_size()
            counts = torch.tensor([[resampled, len(groups) - sum(map(len, chosen))]], device=self.args.device)
            self._rollout_metrics |= dict(
                zip(("resampled", "skipped"), self._everywhere(counts).sum(dim=0).tolist(), strict=True)
            )
            self._keep(groups, rewards, advantages_BG)
        return [{"micro_batch": batch, "input_ids": batch.packed.input_ids_1L} for batch in self._micro_batches], None

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Tensor:
        """Score one micro-batch under the policy and return the loss."""
        batch: MicroBatch = inputs["micro_batch"]
        scores = score(model, batch.packed, batch.media, self.recipe.temperature)
        logps_RC = scores.logps_RC
        if batch.old_logps_RC is None:
            batch.old_logps_RC = logps_RC.detach()
        loss, kl = policy_loss(
            logps_RC,
            batch.old_logps_RC,
            batch.reference_logps_RC if batch.reference_logps_RC is not None else logps_RC.detach(),
            batch.advantages_R,
            batch.packed.mask_RC,
            self.recipe.loss,
            self._size,
            self.recipe.max_new_tokens,
        )
        self._update_metrics.append(torch.stack([kl, scores.entropy]))
        return loss

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """Loss and gradient of one micro-batch, timed."""
        with self._timed("update"):
            return super().training_step(model, inputs, num_items_in_batch)

    def _sample(self, rows: Sequence[int]) -> tuple[list[Group], int]:
        """This process's groups, and how many questions were asked in place of ones without variance (`resample`)."""
        recipe, model = self.recipe, self._sampling_model()
        groups, asked, resampled = self._roll_out(model, rows), list(rows), 0
        for draw in range(recipe.resample_rounds if recipe.dynamic_sampling == "resample" else 0):
            rewards = self._rewards(grade_groups(groups, recipe.contrast_size, recipe.grading))
            places = idle(rewards, recipe.temporal).nonzero()[:, 0].tolist()
            if not places:
                break
            for b in places:
                asked[b] = replacement(asked[b], asked, len(self.samples), recipe.seed, self.state.global_step, draw)
            for b, group in zip(places, self._roll_out(model, [asked[b] for b in places]), strict=True):
                groups[b] = group
            resampled += len(places)
        return groups, resampled

    def _roll_out(self, model: PreTrainedModel, rows: Sequence[int]) -> list[Group]:
        recipe, step = self.recipe, self.state.global_step
        questions = [
            ask(self.samples[row], self.reader, self.builder, recipe.contrast, recipe.seed, step) for row in rows
        ]
        with self.compute_loss_context_manager():
            return roll_out(
                model,
                self.builder,
                questions,
                recipe.group_size,
                recipe.contrast_size,
                Sampling(recipe.max_new_tokens, recipe.temperature, recipe.top_p),
                recipe.seed,
                step,
                share_features=recipe.freeze_vision,
            )

    def _assess(self, groups: Sequence[Group]) -> tuple[Rewards, Tensor]:
        """Rewards and advantages of this process's groups; statistics over the batch are those of all processes."""
        recipe = self.recipe
        everywhere = self._gather(grade_groups(groups, recipe.contrast_size, recipe.grading))
        types = self._gather_types([group.question.sample.problem_type for group in groups])
        rewards = self._rewards(everywhere)
        self.ema = update_ema(self.ema, scaled_rewards(rewards, recipe.temporal), types, recipe.ema_decay)
        ema_B = torch.tensor([self.ema[kind] for kind in types])
        advantages_BG = temporal_advantages(rewards, recipe.temporal, recipe.scale, ema_B)
        effect = temporal_effect(advantages_BG, rewards, recipe.scale, ema_B)
        self._rollout_metrics = rollout_metrics(everywhere, rewards, recipe) | {"temporal_effect": effect}
        own = slice(self.args.process_index * len(groups), (self.args.process_index + 1) * len(groups))
        mine = Rewards(**{field.name: getattr(rewards, field.name)[own] for field in fields(rewards)})
        return mine, advantages_BG[own]

    def _rewards(self, grades: Grades) -> Rewards:
        return group_rewards(
            grades.accuracy_BG,
            grades.format_BG,
            grades.lengths_BG,
            grades.contrast_BK,
            grades.has_contrast_B,
            self.recipe,
        )

    def _choose(self, rewards: Rewards, sizes: Sequence[int]) -> list[list[int]]:
        """The groups of each micro-batch that are trained on; one that would be empty keeps its first, for its KL term alone."""
        idle_B = idle(rewards, self.recipe.temporal) & (self.recipe.dynamic_sampling != "off")
        batches_b = torch.arange(len(idle_B)).split(list(sizes))
        return [batch_b[~idle_B[batch_b]].tolist() or batch_b[:1].tolist() for batch_b in batches_b]

    def _prepare(self, groups: Sequence[Group], advantages_BG: Tensor) -> MicroBatch:
        """Pack the groups of a micro-batch and score them under the reference, which never changes."""
        device = self.args.device
        prompts = [group.question.ordered for group in groups]
        packed = pack(prompts, [[response.ids_C for response in group.ordered] for group in groups]).to(device)
        features = [group.features for group in groups if group.features is not None]
        media = encoded_media(features) if features else pixel_media(self.builder, prompts, device)
        advantages_R = advantages_BG.flatten().to(device, torch.float32)
        return MicroBatch(packed, media, advantages_R, self._reference_logps(packed, media))

    def _step_size(self) -> StepSize:
        counts = [[len(batch.packed.mask_RC), len(batch.packed.targets_N)] for batch in self._micro_batches]
        rows, tokens = self._everywhere(torch.tensor(counts, device=self.args.device)).double().mean(dim=0).tolist()
        return StepSize(rows, tokens)

    @torch.no_grad()
    def _reference_logps(self, packed: Packed, media: dict[str, Any]) -> Tensor | None:
        if self.recipe.loss.beta == 0:
            return None
        model: Any = self.model if self.reference is None else self.reference
        adapters_off = model.disable_adapter() if self.reference is None else nullcontext()
        with adapters_off, self.compute_loss_context_manager():
            return score(model, packed, media, self.recipe.temperature).logps_RC

    # Processes

    def _sampling_model(self) -> PreTrainedModel:
        """The policy as one whole model: itself, or under ZeRO-3 a copy that is brought up to date."""
        if self.sampler is None:
            return self.model  # type: ignore[return-value]  # Trainer types it as a plain module
        import deepspeed

        assert self.model is not None
        with torch.no_grad():
            for copy, weight in zip(self.sampler.parameters(), self.model.parameters(), strict=True):
                with deepspeed.zero.GatheredParameters([weight]):
                    copy.copy_(weight)
        return self.sampler

    def _everywhere(self, values: Tensor) -> Tensor:
        """The values of all processes, in the order of their numbers."""
        return cast(Tensor, self.accelerator.gather(values))

    def _gather(self, grades: Grades) -> Grades:
        """The grades of all processes, in the order of their numbers, on the CPU."""
        values = {field.name: getattr(grades, field.name).to(self.args.device) for field in fields(grades)}
        return Grades(**{name: self._everywhere(value).cpu() for name, value in values.items()})

    def _gather_types(self, types: Sequence[str]) -> list[str]:
        numbers_B = torch.tensor([PROBLEM_TYPES.index(kind) for kind in types], device=self.args.device)
        return [PROBLEM_TYPES[number] for number in self._everywhere(numbers_B).tolist()]

    # What is watched

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the step's own figures to what Trainer logs after each step, and stop the run when a guard trips."""
        if "loss" not in logs:
            return super().log(logs, start_time)
        kl, entropy = self._everywhere(torch.stack(self._update_metrics).mean(dim=0)[None]).mean(dim=0).tolist()
        self._update_metrics.clear()
        logs |= (
            self._rollout_metrics
            | {"kl": kl if self.recipe.loss.beta else math.nan, "entropy": entropy}
            | self._speed()
        )
        super().log(logs, start_time)
        self._log_speed()
        if message := trip(steps(self.state.log_history), self.recipe.guards):
            raise UserError(message)

    def _speed(self) -> dict[str, float]:
        """Seconds of each phase of the step on this process, and the completion tokens per second that all processes train on."""
        tokens = self._size.tokens * len(self._micro_batches) * self.args.world_size
        speed = {f"seconds_{phase}": seconds for phase, seconds in self.seconds.items()}
        speed["tokens_per_second"] = tokens / sum(self.seconds.values())
        self.seconds.clear()
        return speed

    def _log_speed(self) -> None:
        due = self.state.global_step == 1 or self.state.global_step % max(1, self.state.max_steps // 15) == 0
        if due and self.is_world_process_zero():
            row = self.state.log_history[-1]
            spent = ", ".join(f"{name[8:]} {value:.2f} s" for name, value in row.items() if name.startswith("seconds_"))
            text = "step %d/%d: reward %.3f, %s, %.0f tokens/s"
            log.info(text, self.state.global_step, self.state.max_steps, row["reward"], spent, row["tokens_per_second"])

    @contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        begin = time.perf_counter()
        yield
        self.seconds[phase] = self.seconds.get(phase, 0.0) + time.perf_counter() - begin

    def _keep(self, groups: Sequence[Group], rewards: Rewards, advantages_BG: Tensor) -> None:
        """Keep the first question of every `keep_every`-th step for the report; a repeated step writes the same file again."""
        step = self.state.global_step + 1
        if self.is_world_process_zero() and (step == 1 or step % self.keep_every == 0):
            rows = rollout_rows(step, groups[0], rewards, advantages_BG, self.recipe.contrast, self.recipe.grading)
            write_json(self.kept / f"{step:08d}.json", {"rows": rows})

    # Checkpoints

    def _get_train_sampler(self, train_dataset: Any = None) -> torch.utils.data.Sampler:
        return torch.utils.data.SequentialSampler(self.train_dataset)  # type: ignore[arg-type]  # the plan is the order

    def state_to_keep(self) -> dict[str, Any]:
        return {"ema": self.ema}

    def restore_state(self, state: dict[str, Any]) -> None:
        self.ema = state["ema"]


def question_plan(total: int, steps: int, per_step: int, updates_per_rollout: int, seed: int) -> list[int]:
    """Which of `total` samples each step asks: shuffled epochs one after another; the updates of one rollout repeat its questions."""
    generator = torch.Generator().manual_seed(seed)
    rollouts = math.ceil(steps / updates_per_rollout)
    epochs = math.ceil(rollouts * per_step / total)
    order = torch.cat([torch.randperm(total, generator=generator) for _ in range(epochs)])[: rollouts * per_step]
    return order.view(rollouts, 1, per_step).expand(-1, updates_per_rollout, -1).flatten()[: steps * per_step].tolist()


def _rows(rows: list[int]) -> dict[str, Tensor]:
    return {"rows": torch.tensor(rows)}

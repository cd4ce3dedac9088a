"""The T-GRPO step inside transformers' Trainer.

Trainer brings resume, DeepSpeed, adapters, schedules and loggers. One optimizer step: roll out (sample, grade) →
rewards → advantages → reference scores. Then per micro-batch: policy scores → loss.
"""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_utils import PreTrainedModel
from transformers.training_args import TrainingArguments

from stages.generation.faithfulness import answers_change
from stages.model.router import MixtureTrainer
from stages.rl.assessment import Assessment, Assessor
from stages.rl.batches import MicroBatch, micro_batch, trained_groups
from stages.rl.exchange import gather, idle_shares
from stages.rl.gpu_idle import GpuIdle
from stages.rl.grading import GradedGroup
from stages.rl.guards import trip
from stages.rl.loss import StepSize, policy_loss
from stages.rl.metrics import Figure, rollout_rows, step_rows
from stages.rl.mismatch import importance_weights, logp_difference, sampling_kl
from stages.rl.params import StepParams
from stages.rl.rollout import exchanges_of
from stages.rl.sampler import Sampler, update_copy
from stages.rl.scoring import score
from stages.rl.sharing import StepPlan
from stages.run.errors import UserError
from stages.run.files import write_json

log = logging.getLogger(__name__)

UPDATE_FIGURES: tuple[Figure, ...] = ("kl", "entropy", "sampling_logp_difference", "sampling_kl")
LOGGED_STEPS = 15  # lines about speed that a run writes to its log, about


class TgrpoTrainer(MixtureTrainer):
    """Trains `model` on the questions of `plan`.

    Args:
        reference: The frozen model of the KL term; None stands for `model` with its adapters off, or for no KL term.
        whole_copy: Under ZeRO-3, a whole copy of the policy that samples.
        kept: Folder for the rollouts that the report shows.
        keep_every: Steps between two kept rollouts.

    UserError when a guard trips, or when a loss is not finite.
    """

    def __init__(
        self,
        model: nn.Module,
        args: TrainingArguments,
        params: StepParams,
        plan: StepPlan,
        sampler: Sampler,
        reference: PreTrainedModel | None,
        whole_copy: PreTrainedModel | None,
        kept: Path,
        keep_every: int,
    ) -> None:
        questions: Any = plan.rows  # Trainer takes any sized sequence
        super().__init__(model=model, args=args, train_dataset=questions, data_collator=_rows)
        self.params, self.sampler, self.plan = params, sampler, plan
        self.reference, self.whole_copy = reference, whole_copy
        self.kept, self.keep_every = kept, keep_every
        self.assessor = Assessor(params)
        self.stopwatch = sampler.stopwatch
        self.gpu_idle = GpuIdle()
        self._micro_batches: list[MicroBatch] = []
        self._size = StepSize(rows=1, tokens=1)
        self._rollout_metrics: dict[str, float] = {}
        self._update_metrics: list[Tensor] = []

    # The algorithm

    def get_batch_samples(
        self, epoch_iterator: Iterator[dict[str, Tensor]], num_batches: int, device: torch.device
    ) -> tuple[list[dict[str, MicroBatch | Tensor]], None]:
        """One rollout for all micro-batches of an optimizer step.

        `updates_per_rollout` steps share it. Trainer reads `input_ids` of what is returned, to count tokens.
        """
        for _ in range(num_batches):
            next(epoch_iterator)  # the plan has the questions; Trainer counts the batches
        if self.state.global_step % self.params.updates_per_rollout == 0:
            self._roll_out()
        return [{"micro_batch": batch, "input_ids": batch.packed.input_ids_1L} for batch in self._micro_batches], None

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Tensor:
        """The loss of one micro-batch."""
        batch: MicroBatch = inputs["micro_batch"]
        wants_router_loss = self.router_weight > 0
        scores = score(model, batch.packed, batch.media, self.params.temperature, router_loss=wants_router_loss)
        logps_RC = scores.logps_RC
        if batch.old_logps_RC is None:
            batch.old_logps_RC = logps_RC.detach()
        loss, kl = policy_loss(
            logps_RC,
            batch.old_logps_RC,
            batch.reference_logps_RC if batch.reference_logps_RC is not None else logps_RC.detach(),
            batch.advantages_R,
            batch.packed.mask_RC,
            self.params.loss,
            self._size,
            self.params.max_new_tokens,
            self._weights(batch.old_logps_RC, batch),
        )
        policies = batch.old_logps_RC, batch.sampled_logps_RC, batch.packed.mask_RC
        figures = [kl, scores.entropy, logp_difference(*policies), sampling_kl(*policies)]
        self._update_metrics.append(torch.stack(figures))
        return self.with_router_loss(loss, scores.router_loss)

    def _weights(self, scored_logps_RC: Tensor, batch: MicroBatch) -> Tensor | None:
        """Weights of the surrogate, None for equal ones.

        They are the tokens' weights times the corrections of the sampling.
        """
        mode, weights = self.params.correction, batch.token_weights_RC
        if mode == "off":
            return weights
        corrections = importance_weights(
            scored_logps_RC,
            batch.sampled_logps_RC,
            batch.packed.mask_RC,
            mode,
            self.params.loss.importance_sampling_clip_max,
        )
        return corrections if weights is None else corrections * weights

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """Loss and gradient of one micro-batch, timed."""
        with self.stopwatch.measure("update"):
            return super().training_step(model, inputs, num_items_in_batch)

    def _roll_out(self) -> None:
        """Sample, grade and prepare the micro-batches of this process."""
        step, process, params = self.state.global_step, self.args.process_index, self.params
        shared, following = self.plan.step_and_next(step)
        model = self._sampling_model()
        sampled = self.sampler.sample(self.accelerator, model, shared, step, following.rows_of(process))
        self.plan.note(sampled.samples, sampled.grades.lengths_BG)
        found = self.assessor.assess(self.accelerator, sampled, shared)
        sizes, keep_idle = list(map(len, shared.shares[process])), params.dynamic_sampling == "off"
        trained = trained_groups(found.rewards, sizes, keep_idle)
        with self.stopwatch.measure("reference"):
            self._micro_batches = [self._prepare(sampled.groups, found, batch) for batch in trained]
        self._size = self._step_size()
        skipped = gather(self.accelerator, torch.tensor([sum(sizes) - sum(map(len, trained))])).sum()
        self._rollout_metrics = {**found.figures, "resampled": sampled.resampled, "skipped": int(skipped)}
        self._rollout_metrics["answers_change"] = self._answers_change(model, sampled.groups)
        self._keep(sampled.groups, found)

    def _answers_change(self, model: PreTrainedModel, groups: Sequence[GradedGroup]) -> float:
        """The share of answers that change with the thought.

        NaN if not measured.

        Of each question the first response in order gets the notes of the first one on contrast frames.
        """
        params = self.params
        if not params.measures_faithfulness(self.state.global_step):
            return math.nan
        exchanges = exchanges_of([graded.group for graded in groups])
        with self.stopwatch.measure("faithfulness"), self.autocast():
            changed = answers_change(
                model, self.sampler.builder, exchanges, params.max_new_tokens, params.grading, params.correct_above
            )
        counts = gather(self.accelerator, torch.tensor([[sum(changed), len(changed)]])).sum(dim=0)
        return float(counts[0] / counts[1])

    def _prepare(self, groups: Sequence[GradedGroup], found: Assessment, batch: Sequence[int]) -> MicroBatch:
        """Pack the groups of a micro-batch and score them under the reference."""
        packed = micro_batch(
            self.sampler.builder,
            [groups[b].group for b in batch],
            found.advantages_BG[batch],
            self.args.device,
            found.weights and [found.weights[b] for b in batch],
        )
        packed.reference_logps_RC = self._reference_logps(packed)
        return packed

    def _step_size(self) -> StepSize:
        counts = [[len(batch.packed.mask_RC), len(batch.packed.targets_N)] for batch in self._micro_batches]
        with self.stopwatch.measure("waiting"):
            rows, tokens = gather(self.accelerator, torch.tensor(counts)).double().mean(dim=0).tolist()
        return StepSize(rows, tokens)

    @torch.no_grad()
    def _reference_logps(self, batch: MicroBatch) -> Tensor | None:
        if self.params.loss.beta == 0:
            return None
        model: Any = self.model if self.reference is None else self.reference
        adapters_off = model.disable_adapter() if self.reference is None else nullcontext()
        with adapters_off, self.autocast():
            return score(model, batch.packed, batch.media, self.params.temperature).logps_RC

    def _sampling_model(self) -> PreTrainedModel:
        """The policy as one whole model; under ZeRO-3 this is a copy."""
        if self.whole_copy is None:
            return self.model  # type: ignore[return-value]  # Trainer types it as a plain module
        update_copy(self.whole_copy, self.model)
        return self.whole_copy

    # What is watched

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the step's own figures to what Trainer logs.

        UserError when a guard trips.
        """
        if "loss" not in logs:
            return super().log(logs, start_time)
        figures = gather(self.accelerator, torch.stack(self._update_metrics).mean(dim=0)[None]).mean(dim=0).tolist()
        self._update_metrics.clear()
        logs |= self._rollout_metrics | dict(zip(UPDATE_FIGURES, figures, strict=True))
        if self.params.loss.beta == 0:
            logs["kl"] = math.nan
        logs |= self._speed()
        super().log(logs, start_time)
        self._log_speed()
        if message := trip(step_rows(self.state.log_history), self.params.guards):
            raise UserError(message)

    def _speed(self) -> dict[str, float]:
        """Seconds of each phase, tokens per second, idle shares.

        Tokens are the completion tokens of all processes.
        """
        seconds = self.stopwatch.take()
        if self.args.world_size == 1:
            seconds.pop("waiting", None)
        tokens = self._size.tokens * len(self._micro_batches) * self.args.world_size
        speed = {f"seconds_{phase}": value for phase, value in seconds.items()}
        speed["tokens_per_second"] = tokens / sum(seconds.values())
        if (idle := self.gpu_idle.take()) is not None:
            speed["gpu_idle"] = idle
        return speed | idle_shares(self.accelerator, seconds)

    def _log_speed(self) -> None:
        step, last = self.state.global_step, self.state.max_steps
        due = step == 1 or step % max(1, last // LOGGED_STEPS) == 0
        if due and self.is_world_process_zero():
            row = self.state.log_history[-1]
            spent = ", ".join(
                f"{name.removeprefix('seconds_')} {value:.2f} s" for name, value in row.items() if "seconds_" in name
            )
            text = "step %d/%d: reward %.3f, %s, %.0f tokens/s"
            log.info(text, step, last, row["reward"], spent, row["tokens_per_second"])

    def _keep(self, groups: Sequence[GradedGroup], found: Assessment) -> None:
        """Keep the first question of every `keep_every`-th step for the report.

        A step that is repeated after a resume writes the same file.
        """
        step = self.state.global_step + 1
        if self.is_world_process_zero() and (step == 1 or step % self.keep_every == 0):
            of_first = groups[0], found.rewards, found.advantages_BG
            rows = rollout_rows(step, *of_first, self.params.contrast, self.params.mode)
            write_json(self.kept / f"{step:08d}.json", {"rows": rows})

    # Checkpoints

    def train_on(self) -> None:
        """Train from the last whole checkpoint, and measure the GPU."""
        self.gpu_idle.start(self.args.device)
        try:
            super().train_on()
        finally:
            self.gpu_idle.stop()

    def _get_train_sampler(self, train_dataset: Any = None) -> torch.utils.data.Sampler:
        return torch.utils.data.SequentialSampler(self.train_dataset)  # type: ignore[arg-type]  # the plan is the order

    def state_to_keep(self) -> dict[str, Any]:
        """What the assessor and the plan remember."""
        return self.assessor.state() | self.plan.state()

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_to_keep` gave."""
        self.assessor.restore(state)
        self.plan.restore(state)


def _rows(rows: list[int]) -> dict[str, Tensor]:
    return {"rows": torch.tensor(rows)}

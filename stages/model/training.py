"""What both training stages share: optimisation and exact checkpoints.

A checkpoint loads back exactly, or is known to be cut off.
"""

import importlib.util
import json
import logging
import math
import os
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator
from pydantic import Field
from torch import nn
from transformers.modeling_utils import PreTrainedModel
from transformers.trainer_callback import TrainerState
from transformers.training_args import TrainingArguments

from stages.model.adapters import Lora
from stages.model.checkpoints import (
    COMPLETE,
    PROCESSES,
    keep_newest,
    kept_state,
    last_checkpoint,
    make_durable,
    remove_cut_off,
)
from stages.model.load import Precision, resolve
from stages.model.processes import ZeroStage
from stages.model.save import save_model
from stages.model.shards import ShardTrainer
from stages.run.errors import UserError
from stages.run.files import write_atomic
from stages.run.params import LARGEST_SEED, Params

log = logging.getLogger(__name__)

STEPS = "steps.jsonl"  # beside the checkpoints: every figure of every step, seconds included


@dataclass(frozen=True)
class Batch:
    """Samples per step and per forward, with their parameters' names.

    A step's samples are those of all processes.
    """

    step_name: str
    step: int
    forward_name: str
    forward: int

    def forwards(self, processes: int, called: str = "processes") -> int:
        """Forwards per step of each process.

        UserError when the samples cannot be shared out evenly.
        """
        if self.step % (self.forward * processes):
            raise UserError(
                f"{self.step_name} ({self.step}) must be a multiple of {self.forward_name} x {called} "
                f"({self.forward} x {processes})"
            )
        return self.step // (self.forward * processes)


class Optimisation(Params):
    """How weights are trained, whatever the loss."""

    learning_rate: float = Field(default=1e-6, gt=0, description="largest learning rate of AdamW")
    warmup_steps: int = Field(default=0, ge=0, description="steps in which the learning rate rises from 0")
    weight_decay: float = Field(default=0.01, ge=0, description="decay per step and learning rate, of matrices only")
    max_grad_norm: float = Field(default=1.0, gt=0, description="a longer gradient is shortened to this norm")
    max_prompt_tokens: int | None = Field(
        default=None,
        ge=1,
        description="longest prompt; samples with a longer one are left out; null: the model's limit",
    )
    precision: Precision = Field(default="bf16", description="of the computation: bf16 or fp32")
    lora: Lora | None = Field(default=None, description="train adapters of this rank only; null trains the weights")
    gradient_checkpointing: bool = Field(
        default=True, description="compute activations again in the backward pass: less memory, more time"
    )
    deepspeed: ZeroStage | None = Field(default=None, description="ZeRO stage (2 or 3); null trains without DeepSpeed")
    feature_cache_gib: float = Field(
        default=4.0,
        ge=0,
        description="CPU memory of each process, in GiB, that keeps a frozen vision tower's features from one visit "
        "of a clip to the next; it fills as clips are seen; 0 keeps none and encodes a forward's media together",
    )
    seed: int = Field(
        default=42, ge=0, le=LARGEST_SEED, description="of the order of samples and of every random number"
    )
    save_steps: int = Field(default=100, ge=1, description="steps between checkpoints")
    save_total_limit: int = Field(
        default=2, ge=1, description="checkpoints that are kept; while one is written, one more takes room on the disk"
    )
    deterministic: bool | None = Field(
        default=None,
        description="equal runs give equal weights; on a GPU a step takes 17 % longer; null: on the CPU only",
    )
    report_to: Literal["none", "tensorboard", "wandb", "mlflow"] = Field(
        default="none", description="where figures go besides steps.jsonl"
    )
    threads: int = Field(default=1, ge=1, description="CPU threads of each process")

    @property
    def batch(self) -> Batch:
        """How many samples a step and a forward take."""
        raise NotImplementedError

    @property
    def weight_precision(self) -> Precision:
        """Precision of the weights.

        Full training without DeepSpeed keeps fp32 weights and computes by autocast.
        """
        return "fp32" if self.lora is None and self.deepspeed is None else self.precision

    def configure_torch(self) -> None:
        """Set the process's threads, and whether operations must give equal results."""
        torch.set_num_threads(self.threads)
        deterministic = not torch.cuda.is_available() if self.deterministic is None else self.deterministic
        torch.use_deterministic_algorithms(deterministic, warn_only=True)
        # The weights are equal with and without it, and each of DeepSpeed's buffers of 2 GB takes 0.7 s to fill.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # made at run time

    def arguments(
        self, work: Path, joined: dict[str, Any], forwards: int | None = None, **more: Any
    ) -> TrainingArguments:
        """Trainer's arguments. `joined` is the result of `join_processes`.

        `forwards` per step and process are by default those of the batch.

        UserError when a step's samples cannot be shared out evenly, when a logger is not installed, or for bf16 under
        DeepSpeed without a GPU.
        """
        if self.precision == "bf16" and self.deepspeed is not None and not torch.cuda.is_available():
            raise UserError("precision bf16 needs a GPU under DeepSpeed: set precision to fp32, or deepspeed to null")
        if self.report_to != "none" and importlib.util.find_spec(self.report_to) is None:
            raise UserError(f"report_to names {self.report_to}, which is not installed: pip install {self.report_to}")
        of_batch = self.batch.forwards(int(os.environ.get("WORLD_SIZE", "1")))
        arguments = TrainingArguments(
            output_dir=str(work),
            per_device_train_batch_size=self.batch.forward,
            gradient_accumulation_steps=forwards or of_batch,
            learning_rate=self.learning_rate,
            warmup_steps=self.warmup_steps,
            weight_decay=self.weight_decay,
            max_grad_norm=self.max_grad_norm,
            bf16=self.precision == "bf16",
            activation_checkpointing=self.gradient_checkpointing,
            logging_steps=1,
            logging_nan_inf_filter=False,
            save_steps=self.save_steps,
            save_total_limit=self.save_total_limit,
            seed=self.seed,
            report_to=self.report_to,
            disable_tqdm=True,
            remove_unused_columns=False,
            dataloader_pin_memory=torch.cuda.is_available(),
            ddp_find_unused_parameters=False,
            **joined,
            **more,
        )
        # A process has one GPU: DataParallel over all that it sees would cut packed rows apart.
        arguments._n_gpu = min(arguments.n_gpu, 1)
        return arguments


class ResumableTrainer(ShardTrainer):
    """Trainer that goes on exactly from its last whole checkpoint.

    transformers 5 writes the weights of vision-language models under their hub names and does not find them when it
    loads a checkpoint: the run would go on with fresh weights, and only a warning would tell. Here weights keep the
    model's names.
    """

    # Declared because Trainer only infers them: pyright would read all of transformers to find out.
    state: TrainerState
    accelerator: Accelerator
    model: nn.Module
    model_wrapped: nn.Module
    _has_steps = False

    def autocast(self) -> AbstractContextManager[None]:
        """Compute as the model's forward does.

        The forward has autocast of its own, which casts fp32 weights again each time it is called. Within this block
        they are cast once. Trainer's `compute_loss_context_manager` no longer does anything.
        """
        return self.accelerator.autocast()

    def state_to_keep(self) -> dict[str, Any]:
        """What a subclass wants back after a resume, as JSON."""
        return {}

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Take back the result of `state_to_keep`."""

    def train_on(self) -> None:
        """Train, from the last whole checkpoint if there is one."""
        work = Path(self.args.output_dir or "")
        checkpoint = last_checkpoint(work)
        if checkpoint is not None:
            state, processes = kept_state(checkpoint)
            if processes not in (None, self.zero_processes):
                self.use_universal(checkpoint)
            self.restore_state(state)
            log.info("resuming from %s", checkpoint)
        if self.is_world_process_zero():
            remove_cut_off(work)
        self.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log figures, also to `steps.jsonl`.

        UserError when the step had no finite loss or gradient; the step is then in no checkpoint.
        """
        super().log(logs, start_time)
        if self.is_world_process_zero():
            self._write_steps()
        for name in ("loss", "grad_norm"):
            if not math.isfinite(logs.get(name, 0.0)):
                raise UserError(
                    f"{name} is {logs[name]} at step {self.state.global_step}: "
                    "lower learning_rate or use precision fp32; the checkpoints before it stay"
                )

    def _write_steps(self) -> None:
        """Append the last row.

        The first time all rows are written: a resumed run repeats the steps after its checkpoint.
        """
        rows = self.state.log_history[-1:] if self._has_steps else self.state.log_history
        finite = ({name: value if math.isfinite(value) else None for name, value in row.items()} for row in rows)
        with open(Path(self.args.output_dir or "") / STEPS, "a" if self._has_steps else "w", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in finite)
        self._has_steps = True

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        if not isinstance(self.model, PreTrainedModel):
            super()._save(output_dir, state_dict)
        elif self.args.should_save:
            self.model.save_pretrained(
                output_dir or self.args.output_dir or "", state_dict=state_dict, save_original_format=False
            )

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        model: Any = self.model
        if wrong := {*load_result.missing_keys, *load_result.unexpected_keys} - set(model.all_tied_weights_keys):
            raise RuntimeError(f"the checkpoint does not fit the model: {sorted(wrong)}")

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        started = time.monotonic()
        # Trainer would remove older checkpoints before this one counts.
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        super()._save_checkpoint(model, trial)
        self.args.save_total_limit = limit
        self.accelerator.wait_for_everyone()
        if self.is_world_process_zero():
            folder = Path(self._get_output_dir(trial)) / f"checkpoint-{self.state.global_step}"
            size = make_durable(folder)
            processes = {} if self.zero_processes is None else {PROCESSES: self.zero_processes}
            write_atomic(folder / COMPLETE, json.dumps(self.state_to_keep() | processes))
            keep_newest(folder.parent, limit or 1)
            log.info("%s: %.3g GB in %.3g s", folder.name, size / 1e9, time.monotonic() - started)
        self.accelerator.wait_for_everyone()


def save_trained(trainer: ResumableTrainer, source: Path, out: Path) -> None:
    """Write the trained model as a plain model folder, with adapters merged.

    Every process must call it: weights may be spread over all of them. The first process writes, then their group ends.
    """
    model: Any = trainer.model
    state: Any = trainer.accelerator.get_state_dict(trainer.model_wrapped) if trainer.is_deepspeed_enabled else None
    if trainer.is_world_process_zero():
        if hasattr(model, "merge_and_unload"):
            model, state = model.merge_and_unload().to(model.dtype), None
        if state is not None:
            # Loading under ZeRO-3 also notes renamings that it did not use; None means the family's own names.
            model._weight_conversions = None
            state = {name: weight for name, weight in state.items() if name not in model.all_tied_weights_keys}
        save_model(model, resolve(source), out, state)
    trainer.accelerator.wait_for_everyone()
    # A process that leaves its group open can abort on exit when another one is gone.
    trainer.accelerator.end_training()

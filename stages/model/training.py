"""What both training stages share: how they optimise, and checkpoints that load back exactly or are known to be cut off."""

import importlib.util
import json
import logging
import math
import os
from pathlib import Path
from typing import Any, Literal

from accelerate import Accelerator
from pydantic import Field
from torch import nn
from transformers.modeling_utils import PreTrainedModel
from transformers.trainer import Trainer
from transformers.trainer_callback import TrainerState
from transformers.training_args import TrainingArguments

from stages.model.adapters import Lora
from stages.model.load import Precision, resolve, save_model
from stages.model.processes import ZeroStage
from stages.run.errors import UserError
from stages.run.files import read_json, write_atomic
from stages.run.params import Params

log = logging.getLogger(__name__)

COMPLETE = "complete.json"  # written last: a checkpoint without it was cut off by a kill
STEPS = "steps.jsonl"  # beside the checkpoints: every figure of every step, seconds included


class Optimisation(Params):
    """How weights are trained, whatever the loss."""

    learning_rate: float = Field(default=1e-6, gt=0)
    warmup_steps: int = Field(default=0, ge=0)
    weight_decay: float = Field(default=0.01, ge=0, description="on matrices")
    max_grad_norm: float = Field(default=1.0, gt=0)
    precision: Precision = "bf16"
    lora: Lora | None = None
    gradient_checkpointing: bool = True
    deepspeed: ZeroStage | None = None
    seed: int = Field(default=42, ge=0)
    save_steps: int = Field(default=100, ge=1)
    report_to: Literal["none", "tensorboard", "wandb", "mlflow"] = Field(
        default="none", description="besides steps.jsonl"
    )
    threads: int = Field(default=1, ge=1, description="CPU threads of each process")

    def arguments(
        self, work: Path, joined: dict[str, Any], per_step: tuple[str, int], per_forward: tuple[str, int], **more: Any
    ) -> TrainingArguments:
        """Trainer's arguments. `per_step` and `per_forward` are the names and values of the parameters that say how many samples a step
        takes over all processes and how many a forward; UserError when they cannot be shared out evenly. `joined` is what `join_processes`
        gave."""
        if self.report_to != "none" and importlib.util.find_spec(self.report_to) is None:
            raise UserError(f"report_to names {self.report_to}, which is not installed: pip install {self.report_to}")
        processes = int(os.environ.get("WORLD_SIZE", "1"))
        per_round = per_forward[1] * processes
        if per_step[1] % per_round:
            raise UserError(
                f"{per_step[0]} ({per_step[1]}) must be a multiple of {per_forward[0]} x processes ({per_forward[1]} x {processes})"
            )
        arguments = TrainingArguments(
            output_dir=str(work),
            per_device_train_batch_size=per_forward[1],
            gradient_accumulation_steps=per_step[1] // per_round,
            learning_rate=self.learning_rate,
            warmup_steps=self.warmup_steps,
            weight_decay=self.weight_decay,
            max_grad_norm=self.max_grad_norm,
            bf16=self.precision == "bf16",
            activation_checkpointing=self.gradient_checkpointing,
            logging_steps=1,
            logging_nan_inf_filter=False,
            save_steps=self.save_steps,
            save_total_limit=2,
            seed=self.seed,
            report_to=self.report_to,
            disable_tqdm=True,
            remove_unused_columns=False,
            dataloader_pin_memory=False,
            ddp_find_unused_parameters=False,
            **joined,
            **more,
        )
        arguments._n_gpu = min(
            arguments.n_gpu, 1
        )  # a process has one GPU: DataParallel over all it sees would cut packed rows apart
        return arguments


class ResumableTrainer(Trainer):
    """Trainer that goes on from the last whole checkpoint of its output folder, exactly where it was.

    transformers 5 writes the weights of vision-language models under their hub names and then does not find them when it loads
    a checkpoint: the run goes on with fresh weights, and only a warning tells. Here they keep the names the model has.
    """

    # What Trainer only infers: pyright would read all of transformers to find out.
    state: TrainerState
    accelerator: Accelerator
    model: nn.Module
    model_wrapped: nn.Module
    _has_steps = False

    def state_to_keep(self) -> dict[str, Any]:
        """What a subclass wants back after a resume, as JSON."""
        return {}

    def restore_state(self, state: dict[str, Any]) -> None:
        """Take back what `state_to_keep` gave."""

    def train_on(self) -> None:
        """Train, from the last whole checkpoint if there is one."""
        checkpoint = last_checkpoint(Path(self.args.output_dir or ""))
        if checkpoint is not None:
            log.info("resuming from %s", checkpoint)
            self.restore_state(read_json(checkpoint / COMPLETE))
        self.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Also to `steps.jsonl`. UserError before a checkpoint is written if the step had no finite loss or gradient."""
        super().log(logs, start_time)
        if self.is_world_process_zero():
            self._write_steps()
        for name in ("loss", "grad_norm"):
            if not math.isfinite(logs.get(name, 0.0)):
                raise UserError(
                    f"{name} is {logs[name]} at step {self.state.global_step}: lower learning_rate or use precision fp32; "
                    "the checkpoints before it stay"
                )

    def _write_steps(self) -> None:
        """Append the last row; the first time all rows, because a resumed run repeats the steps after its checkpoint."""
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
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()
        if self.is_world_process_zero():
            folder = Path(self._get_output_dir(trial)) / f"checkpoint-{self.state.global_step}"
            write_atomic(folder / COMPLETE, json.dumps(self.state_to_keep()))
        self.accelerator.wait_for_everyone()


def last_checkpoint(directory: Path) -> Path | None:
    """The newest checkpoint that was written to its end."""
    whole = [path.parent for path in directory.glob(f"checkpoint-*/{COMPLETE}")]
    return max(whole, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def save_trained(trainer: ResumableTrainer, source: Path, out: Path) -> None:
    """Write the trained model as a plain model folder, adapters merged; every process takes part, the first one writes,
    and their group ends."""
    model: Any = trainer.model
    state: Any = trainer.accelerator.get_state_dict(trainer.model_wrapped) if trainer.is_deepspeed_enabled else None
    if trainer.is_world_process_zero():
        if hasattr(model, "merge_and_unload"):
            model, state = model.merge_and_unload(), None
        if state is not None:
            model._weight_conversions = (
                None  # loading under ZeRO-3 also notes renamings it did not use; None means the family's own names
            )
            state = {name: weight for name, weight in state.items() if name not in model.all_tied_weights_keys}
        save_model(model, resolve(source), out, state)
    trainer.accelerator.wait_for_everyone()
    trainer.accelerator.end_training()  # a process that leaves its group open can abort on exit when another one is gone

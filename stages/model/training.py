"""The trainer of both training stages, with exact checkpoints.

A checkpoint loads back exactly, or is known to be cut off.
"""

import json
import logging
import math
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from torch import nn
from transformers.modeling_utils import PreTrainedModel
from transformers.trainer_callback import TrainerState

from stages.model.checkpoints import (
    COMPLETE,
    PROCESSES,
    keep_newest,
    kept_state,
    last_checkpoint,
    make_durable,
    remove_cut_off,
)
from stages.model.load import resolve
from stages.model.save import save_model
from stages.model.shards import ShardTrainer
from stages.run.errors import UserError
from stages.run.files import write_atomic

log = logging.getLogger(__name__)

STEPS = "steps.jsonl"  # beside the checkpoints: every figure of every step, seconds included


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

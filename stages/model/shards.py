"""Checkpoints of DeepSpeed: a shard of optimizer and weights for each process.

Shards belong to a number of processes. For another number DeepSpeed converts them into a universal checkpoint, which
has a file for each weight.
"""

import logging
import shutil
import subprocess
import sys
import time
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from transformers.trainer import Trainer

log = logging.getLogger(__name__)

UNIVERSAL = "latest_universal"  # DeepSpeed writes it last, beside the folder of shards


class ShardTrainer(Trainer):
    """Trainer that also resumes from the shards of another number of processes."""

    model_wrapped: Any
    is_from_universal = False

    @property
    def zero_processes(self) -> int | None:
        """How many processes share the optimizer; None without DeepSpeed."""
        return self.args.world_size if self.is_deepspeed_enabled else None

    def use_universal(self, checkpoint: Path) -> None:
        """Have DeepSpeed load `checkpoint` for this number of processes."""
        if self.is_world_process_zero():
            make_universal(checkpoint)
        while not (checkpoint / UNIVERSAL).exists():  # a barrier gives up after half an hour
            time.sleep(1.0)
        plugin: Any = self.accelerator.state.deepspeed_plugin
        plugin.deepspeed_config["checkpoint"] = {"load_universal": True}
        self.is_from_universal = True

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None and self.is_from_universal:
            restore_groups(self.model_wrapped.basic_optimizer, Path(checkpoint))

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write the model, but not into a checkpoint of DeepSpeed.

        Its shards hold all weights, and under ZeRO-3 the first process would first have to gather them.
        """
        if not (_internal_call and self.is_deepspeed_enabled):
            super().save_model(output_dir, _internal_call)


def make_universal(checkpoint: Path) -> None:
    """Convert the shards of a checkpoint, beside them, unless that is done.

    Meanwhile the disk holds three times the shards, and twice from then on.
    """
    if (checkpoint / UNIVERSAL).exists():
        return
    started = time.monotonic()
    (shards,) = (path for path in checkpoint.glob("global_step*") if not path.name.endswith("universal"))
    out = shards.with_name(f"{shards.name}_universal")
    shutil.rmtree(out, ignore_errors=True)
    # A program of its own gives its memory back. One worker, because each holds a whole shard.
    workers = ["--num_extract_workers", "1", "--num_merge_workers", "1"]
    converter = [sys.executable, "-m", "deepspeed.checkpoint.ds_to_universal", "--inject_missing_state", *workers]
    command = [*converter, "--input_folder", str(shards), "--output_folder", str(out)]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise RuntimeError(f"DeepSpeed could not convert {shards}: {done.stderr}")
    log.info("%s: converted for another number of processes in %.3g s", checkpoint.name, time.monotonic() - started)


def restore_groups(optimizer: torch.optim.Optimizer, checkpoint: Path) -> None:
    """Give each group of the optimizer its own settings back.

    These are its learning rate, weight decay and count of steps. Under ZeRO-3 DeepSpeed 0.19 gives all of them those of
    the first group, and one tensor that counts the steps of all.
    """
    from deepspeed.runtime.fp16.loss_scaler import LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum

    (state,) = checkpoint.glob("global_step*_universal/zero/optimizer_state.pt")
    with torch.serialization.safe_globals([LossScaler, ZeroStageEnum]):
        kept = torch.load(state, map_location="cpu", weights_only=True)["param_groups"]
    for group, own in zip(optimizer.param_groups, kept, strict=True):
        group.update({name: value for name, value in own.items() if name != "params"})
    for moments in optimizer.state.values():
        moments["step"] = deepcopy(moments["step"])

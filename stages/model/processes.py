"""Training on several processes: DeepSpeed's settings and joining the group."""

import os
from typing import Any, Literal

import torch
from accelerate import PartialState

from stages.run.errors import UserError

ZeroStage = Literal[2, 3]


def process_count() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def zero_config(stage: ZeroStage | None) -> dict[str, Any] | None:
    """DeepSpeed's configuration for a ZeRO stage.

    Batch size, clipping and precision follow the training arguments. Bucket sizes are DeepSpeed's own: "auto" needs a
    `hidden_size`, which the top of a vision-language config does not have.
    """
    if stage is None:
        return None
    zero: dict[str, Any] = {"stage": stage, "overlap_comm": torch.cuda.is_available(), "contiguous_gradients": True}
    if stage == 3:
        zero["stage3_gather_16bit_weights_on_model_save"] = True
    return {
        "zero_optimization": zero,
        "bf16": {"enabled": "auto"},
        "gradient_clipping": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "zero_allow_untested_optimizer": True,
    }


def join_processes(zero: ZeroStage | None) -> dict[str, Any]:
    """Join the other processes; returns the training arguments for it.

    Without a GPU, DeepSpeed runs on the CPU over gloo. UserError for DeepSpeed with one process and no GPU.
    """
    if torch.cuda.is_available():
        return {"deepspeed": zero_config(zero), "accelerator_config": {"non_blocking": True}}
    if zero is None:
        return {"use_cpu": True}
    if process_count() == 1:
        raise UserError(
            f"deepspeed: {zero} shares the optimizer between processes, and this is one process without a GPU: "
            "set deepspeed to null, or PROCESSES to 2 or more"
        )
    os.environ["DS_ACCELERATOR"] = "cpu"
    os.environ["ACCELERATE_USE_DEEPSPEED"] = "true"
    import deepspeed

    # DeepSpeed would compile an inference kernel that training never calls. A kill during the compilation leaves a lock
    # behind, and later runs would wait for it.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    PartialState(backend="gloo")
    return {"deepspeed": zero_config(zero), "accelerator_config": {"use_configured_state": True}}

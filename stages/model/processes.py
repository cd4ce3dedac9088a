"""Training on several processes: DeepSpeed's ZeRO settings, and the arguments that need a CPU process group."""

import ctypes
import os
import signal
import sys
from collections.abc import Collection
from typing import Any, Literal

import torch
from accelerate import PartialState

from stages.run.errors import UserError

ZeroStage = Literal[2, 3]

_PR_SET_PDEATHSIG = 1


def zero_config(stage: ZeroStage | None) -> dict[str, Any] | None:
    """DeepSpeed's configuration for a ZeRO stage; batch size, clipping and precision follow the training arguments.

    Bucket sizes are DeepSpeed's own: "auto" ones need a `hidden_size` that vision-language configs do not have at the top.
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


def check_media(stage: str, zero: ZeroStage | None, data_types: Collection[str]) -> None:
    """Refuse with UserError what would hang: ZeRO-3 on several processes with videos and images together.

    Each media type is a pass of the vision tower, and processes that make different passes wait for each other's weights for ever.
    """
    if zero == 3 and int(os.environ.get("WORLD_SIZE", "1")) > 1 and len(data_types) > 1:
        raise UserError(
            f"ZeRO-3 cannot train on videos and images together on several processes: set {stage}.deepspeed to 2"
        )


def join_processes(zero: ZeroStage | None) -> dict[str, Any]:
    """Join the other processes and return the training arguments for it. Without a GPU, DeepSpeed runs on the CPU over gloo."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and sys.platform == "linux":
        # torchrun puts each process into a session of its own: a killed launcher would leave them training.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if torch.cuda.is_available():
        return {"deepspeed": zero_config(zero)}
    if zero is None:
        return {"use_cpu": True}
    os.environ["DS_ACCELERATOR"] = "cpu"
    os.environ["ACCELERATE_USE_DEEPSPEED"] = "true"
    import deepspeed

    # An inference kernel that training never calls: DeepSpeed would compile it, and a kill meanwhile leaves a lock that hangs later runs.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    PartialState(backend="gloo")
    return {"deepspeed": zero_config(zero), "accelerator_config": {"use_configured_state": True}}

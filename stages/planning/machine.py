"""Devices: memory, arithmetic, bandwidth, and the time that work takes."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import psutil
import torch

from stages.run.errors import UserError

CPU = "cpu"
Stage = Literal["sft", "tgrpo"]

# Measured on an H100 of 80 GB, torch 2.11 (docs/training.md): share of the data sheet's peak that is reached.
MFU: Mapping[Stage, float] = {
    "sft": 0.15,  # 3B with adapters and checkpointing: 7,291 tokens/s
    "tgrpo": 0.27,  # 7B with adapters, 8 questions: reference 1.2 s, update 4.9 s
}
CPU_MFU = 0.35
# Least seconds of one layer for one token: small batches wait for the launch of kernels, not for arithmetic.
LAYER_SECONDS = 1.25e-3  # 7B: 33 to 37 ms a token
ADAPTED_LAYER_SECONDS = 2.5e-3  # with adapters unmerged, as T-GRPO samples: 63 to 75 ms a token
RESERVED, FRAGMENTED = 2**30, 0.06  # bytes of the device's context, share lost to fragmentation


@dataclass(frozen=True)
class Machine:
    """`gpus` equal devices, as vendors' data sheets describe them.

    Of each device: `memory` in bytes, `flops` in dense bf16 operations per second, `bandwidth` in bytes per second.
    """

    name: str
    gpus: int
    memory: float
    flops: float
    bandwidth: float

    @property
    def usable(self) -> float:
        """Bytes of each device that training can use."""
        return (self.memory - RESERVED) * (1 - FRAGMENTED)

    def mfu(self, stage: Stage) -> float:
        """Share of the peak that the arithmetic of a stage reaches."""
        return CPU_MFU if self.name == CPU else MFU[stage]

    def seconds(self, flops: float, mfu: float) -> float:
        """Time of work that is bound by arithmetic."""
        return flops / (self.flops * mfu)

    def decode_seconds(
        self, steps: float, bytes_read: float, layers: int, adapted: bool, flops: float, mfu: float
    ) -> float:
        """Time of `steps` tokens, each of which reads weights and cache once.

        A token also waits for the launch of its layers' kernels, longer with unmerged adapters.
        """
        launches = layers * (ADAPTED_LAYER_SECONDS if adapted else LAYER_SECONDS)
        return max(steps * bytes_read / self.bandwidth, steps * launches, self.seconds(flops, mfu))


_GIB, _T = 2**30, 1e12
DEVICES: Mapping[str, tuple[float, float, float]] = {  # memory, operations, bandwidth
    "a100-80gb": (80 * _GIB, 312 * _T, 2.0 * _T),
    "a100-40gb": (40 * _GIB, 312 * _T, 1.56 * _T),
    "h100-80gb": (80 * _GIB, 989 * _T, 3.35 * _T),
    "h200-141gb": (141 * _GIB, 989 * _T, 4.8 * _T),
    "h20-96gb": (96 * _GIB, 148 * _T, 4.0 * _T),
    "l40s-48gb": (48 * _GIB, 362 * _T, 0.86 * _T),
    "rtx4090-24gb": (24 * _GIB, 165 * _T, 1.0 * _T),
    "rtx3090-24gb": (24 * _GIB, 71 * _T, 0.94 * _T),
}
CPU_CORE_FLOPS, CPU_BANDWIDTH = 1.2e11, 1e10


def machine(device: str | None, gpus: int | None, threads: int) -> Machine:
    """The named device, or this machine's own; UserError for an unknown name."""
    if device is None:
        device = local_device()
    if device == CPU:
        return Machine(
            CPU, 1, psutil.virtual_memory().total, CPU_CORE_FLOPS * min(threads, os.cpu_count() or 1), CPU_BANDWIDTH
        )
    if device not in DEVICES:
        raise UserError(f"no device '{device}'; known: cpu, {', '.join(DEVICES)}")
    return Machine(device, gpus or max(1, torch.cuda.device_count()), *DEVICES[device])


def local_device() -> str:
    """This machine's GPU by its name in `DEVICES`, or cpu.

    UserError for a GPU that is not in the table.
    """
    if not torch.cuda.is_available():
        return CPU
    found = torch.cuda.get_device_properties(0)
    chips = [name for name in DEVICES if name.partition("-")[0] in found.name.lower().replace(" ", "")]
    if not chips:
        raise UserError(
            f"the speed of '{found.name}' is not known; pass --device with the nearest of {', '.join(DEVICES)}"
        )
    return min(chips, key=lambda name: abs(DEVICES[name][0] - found.total_memory))

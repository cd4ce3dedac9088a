"""Copies between CPU and device that run beside the CPU's work."""

import torch
from torch import Tensor


def on_device(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on a device, copied to a GPU through pinned memory.

    PyTorch gives pinned memory back when the copy is done.
    """
    if device.type != "cuda" or tensor.is_cuda:
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def on_cpu(tensor: Tensor) -> Tensor:
    """The tensor in CPU memory, pinned if it comes from a GPU.

    The copy from a GPU may not be there yet: only work of the same stream may read it.
    """
    if not tensor.is_cuda:
        return tensor
    return torch.empty_like(tensor, device="cpu", pin_memory=True).copy_(tensor, non_blocking=True)

"""A vision tower that is not trained."""

from typing import Any

import torch


def freeze_vision(model: Any) -> None:
    """Freeze the vision tower; from now on it runs without gradient.

    With adapters and gradient checkpointing, Trainer makes the outputs of all embedding layers require a gradient.
    The patch embedding is one of them, so without this the frozen tower would be computed twice and differentiated
    for nothing.
    """
    vision = model.model.visual
    vision.requires_grad_(False)
    vision.forward = torch.no_grad()(vision.forward)

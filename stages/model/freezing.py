"""A vision tower that is not trained."""

from typing import Any

import torch

from stages.model.family import family_of


def freeze_vision(model: Any) -> None:
    """Freeze the vision tower; from now on it runs without gradient.

    With adapters and gradient checkpointing, Trainer makes the outputs of all embedding layers require a gradient.
    The patch embedding is one of them, so without this the frozen tower would be computed twice and differentiated
    for nothing.
    """
    vision: Any = family_of(model.config).tower(model)
    vision.requires_grad_(False)
    vision.forward = torch.no_grad()(vision.forward)

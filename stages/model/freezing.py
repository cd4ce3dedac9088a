"""Parts that are not trained: a vision tower, a mixture's routers."""

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


def freeze_router(model: Any) -> None:
    """Freeze the weights that choose experts; a dense model has none."""
    router = family_of(model.config).router
    for name, weight in model.named_parameters():
        if name.endswith(router):
            weight.requires_grad_(False)


def freeze(model: Any, vision: bool, router: bool) -> None:
    """Freeze the vision tower and the router's weights, each if wanted."""
    if vision:
        freeze_vision(model)
    if router:
        freeze_router(model)

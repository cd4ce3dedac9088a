"""Parts that are not trained: a vision tower, and the routers of a mixture of experts."""

from typing import Any

import torch

from stages.model.family import family_of
from stages.run.errors import UserError


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


def check_router_loss(model: Any, router_loss: float) -> None:
    """UserError for a routers' loss with a model that has no routers."""
    if router_loss and not family_of(model.config).router:
        raise UserError(f"router_loss is for a mixture of experts, and {model.config.model_type} has none: set it to 0")

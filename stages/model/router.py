"""Routers of a mixture of experts, trained to use all experts alike."""

from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from stages.model.family import family_of
from stages.model.training import ResumableTrainer
from stages.run.errors import UserError
from stages.run.params import Params


class RouterOptions(Params):
    """How the routers of a mixture of experts are trained.

    A dense model has none.
    """

    freeze_router: bool = Field(
        default=False, description="leave the weights that choose a mixture's experts as they are; always so with lora"
    )
    router_loss: float = Field(
        default=0.0, ge=0, description="weight of the loss that lets a mixture use all its experts alike; 0: none"
    )


class MixtureTrainer(ResumableTrainer):
    """Trainer that can add the routers' loss to that of a step.

    With all experts used alike the routers' loss is the number of experts per token, otherwise mostly more (Switch
    Transformer, equations 4 to 6).
    """

    router_weight = 0.0
    _router_losses: tuple[Tensor, ...] = ()  # of the present step's forwards

    def weigh_routers(self, weight: float) -> None:
        """Add the routers' loss times `weight`.

        UserError for a model that has no routers.
        """
        model: Any = self.model
        if weight and not family_of(model.config).router:
            kind = model.config.model_type
            raise UserError(f"router_loss is for a mixture of experts, and {kind} has none: set it to 0")
        self.router_weight = weight

    def with_router_loss(self, loss: Tensor, router_loss: Tensor | None, forwards: int = 1) -> Tensor:
        """The loss of a forward with that of its routers.

        The routers' loss also goes to the log. Where `loss` is a share of the step's, the routers' loss is divided by
        the step's `forwards`.
        """
        if router_loss is None:
            return loss
        self._router_losses += (router_loss.detach(),)
        return loss + self.router_weight * router_loss / forwards

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The loss of one forward's share of a step's tokens."""
        if not self.router_weight:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        inputs = {**inputs, "output_router_logits": True}
        found: Any = super().compute_loss(model, inputs, True, num_items_in_batch)
        loss = self.with_router_loss(found[0], found[1].aux_loss, self.current_gradient_accumulation_steps)
        return (loss, found[1]) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log figures with the mean of the routers' loss.

        The mean is over the forwards of this process.
        """
        if self._router_losses and "loss" in logs:
            logs["router_loss"] = float(torch.stack(self._router_losses).mean())
            self._router_losses = ()
        super().log(logs, start_time)

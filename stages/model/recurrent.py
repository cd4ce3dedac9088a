"""Layers of linear attention in packed rows.

Such a layer (Gated DeltaNet, arXiv 2412.06464) keeps no keys and values. What came before is in the state of a
recurrence and in the last inputs of a convolution. Padding or another sample before a token would change both, so
that each prompt and each packed sample has states of its own.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.modeling_utils import PreTrainedModel

from stages.model.family import family_of

# A layer's own forward, from hidden states [R, L, H] to hidden states. It goes on from the `States` that it is given as
# `cache_params`, and leaves the new ones there.
Layer: TypeAlias = Callable[..., Tensor]

# Packages by module. transformers takes linear attention from these where they are installed.
_KERNELS = {"fla": "flash-linear-attention", "causal_conv1d": "causal-conv1d"}


def missing_kernels() -> list[str]:
    """Packages with kernels for linear attention that are not installed."""
    return [package for module, package in _KERNELS.items() if find_spec(module) is None]


class States:
    """The states of one layer, as transformers asks a cache for them.

    Its own caches change states in place, through which no gradient goes. conv is [R, channels, kernel], recurrent
    [R, heads, key width, value width]. None stands for the start of a text.
    """

    def __init__(self, conv: Tensor | None = None, recurrent: Tensor | None = None) -> None:
        self.conv, self.recurrent = conv, recurrent

    @classmethod
    def joined(cls, parts: Sequence["States"]) -> "States":
        """The rows of all parts."""
        conv, recurrent = zip(*((each.conv, each.recurrent) for each in parts), strict=True)
        return cls(torch.cat(conv), torch.cat(recurrent))

    def of(self, rows_R: Tensor) -> "States":
        """The states of these rows."""
        assert self.conv is not None
        assert self.recurrent is not None
        return States(self.conv.index_select(0, rows_R), self.recurrent.index_select(0, rows_R))

    def get_conv_state(self, layer_idx: int, state_idx: int = 0) -> Tensor | None:
        """The last inputs of the convolution."""
        return self.conv

    def get_recurrent_state(self, layer_idx: int, state_idx: int = 0) -> Tensor | None:
        """The state of the recurrence."""
        return self.recurrent

    def update_conv_state(self, inputs: Tensor, layer_idx: int, conv_kernel_size: int) -> Tensor:
        """Take inputs [R, channels, C]; return them behind the earlier inputs."""
        missing = max(0, conv_kernel_size - inputs.shape[2])
        joined = functional.pad(inputs, (missing, 0)) if self.conv is None else torch.cat([self.conv, inputs], dim=2)
        self.conv = joined[:, :, -conv_kernel_size:]
        return joined

    def update_recurrent_state(self, state: Tensor, layer_idx: int) -> None:
        """Take the state after the inputs."""
        self.recurrent = state


class PackedRow(Protocol):
    """Knows which tokens of a packed row follow which."""

    @abstractmethod
    def through(self, layer: Layer, states_LH: Tensor) -> Tensor:
        """The row through a layer, [L, H]."""


class _OverRows(nn.Module):
    """A layer's forward that also takes a packed row [1, L, H].

    Its places are the `groups` of scoring or the `segments` of packed samples.
    """

    def forward(
        self,
        hidden_states: Tensor,
        cache_params: Any = None,
        attention_mask: Tensor | None = None,
        groups: PackedRow | None = None,
        segments: PackedRow | None = None,
        **_: object,  # of shared attention: kernels for a GPU refuse arguments that they do not know
    ) -> Tensor:
        """Hidden states [R, L, H] to hidden states."""
        row = groups or segments
        if row is not None:
            return row.through(super().forward, hidden_states[0])[None]
        return super().forward(hidden_states, cache_params=cache_params, attention_mask=attention_mask)


@cache
def _over_rows(layer: type[nn.Module]) -> type[nn.Module]:
    return type(layer.__name__, (_OverRows, layer), {})


def use_packed_states(model: PreTrainedModel) -> None:
    """Let a model's layers of linear attention take packed rows.

    Other layers stay as they are.
    """
    layer = family_of(model.config).recurrent_layer
    for module in model.modules():
        if layer is not None and type(module) is layer:
            module.__class__ = _over_rows(layer)

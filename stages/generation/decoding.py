"""Decoding many responses of few prompts.

A prompt's keys and values are read once per token, however many rows go on from it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicCache
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
from transformers.modeling_utils import AttentionInterface, PreTrainedModel

SHARED_PREFIX = "shared_prefix"
FIRST_COLUMNS = 32  # tokens per row that there is room for at first; doubled when full


class OwnLayer(CacheLayerMixin):
    """One layer's keys and values of the tokens decoded so far.

    They are [rows, heads, tokens, D]. A new token is written in place into a spare column.
    """

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Make room for the first tokens."""
        self.length, self.is_initialized = 0, True
        self.keys, self.values = (_room(states, FIRST_COLUMNS) for states in (key_states, value_states))

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Add one token per row, and return all tokens so far."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None
        assert self.values is not None
        if self.length == self.keys.shape[2]:
            self.keys, self.values = (
                torch.cat([states, _room(states, self.length)], dim=2) for states in (self.keys, self.values)
            )
        self.keys[:, :, self.length], self.values[:, :, self.length] = key_states[:, :, 0], value_states[:, :, 0]
        self.length += 1
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]

    def keep(self, rows: Tensor) -> None:
        """Only these rows go on."""
        assert self.keys is not None
        assert self.values is not None
        self.keys, self.values = self.keys[rows], self.values[rows]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of the keys that a mask covers."""
        return self.get_seq_length() + query_length, 0

    def get_seq_length(self) -> int:
        """Tokens decoded so far."""
        return self.length if self.is_initialized else 0

    def get_max_length(self) -> int:
        """-1: no bound."""
        return -1


def _room(states: Tensor, columns: int) -> Tensor:
    return states.new_empty(*states.shape[:2], columns, states.shape[3])


@dataclass
class Prefix:
    """The prefilled prompts, and which rows go on from which.

    keys, values: per layer [B, heads, P, D]. padding_B11P is true in the padding; None stands for no padding. rows_BN
    lists each prompt's rows (padded with row 0). place_A is the place of row a in the flattened rows_BN.
    """

    keys: list[Tensor]
    values: list[Tensor]
    padding_B11P: Tensor | None
    rows_BN: Tensor
    place_A: Tensor

    @classmethod
    def of(cls, cache: DynamicCache, mask_BP: Tensor, prompt_A: Tensor) -> "Prefix":
        """From the cache of a prefill; prompt_A are the rows' prompts."""
        keys, values = ([getattr(layer, name) for layer in cache.layers] for name in ("keys", "values"))
        padding_B11P = None if mask_BP.all() else ~mask_BP.bool()[:, None, None]
        return cls(keys, values, padding_B11P, *_rows_by_prompt(prompt_A, len(mask_BP)))

    def keep(self, prompt_A: Tensor) -> None:
        """The rows are now these, by their prompts."""
        self.rows_BN, self.place_A = _rows_by_prompt(prompt_A, len(self.rows_BN))

    def by_prompt(self, states_AKGX: Tensor) -> Tensor:
        """States [A, K, G, X] side by side at their prompts."""
        # [B, K, N · G, X]
        return states_AKGX[self.rows_BN].transpose(1, 2).flatten(2, 3)

    def by_row(self, states: Tensor, G: int) -> Tensor:
        """States at their prompts back at their rows."""
        # [A, K, G, X]
        return states.unflatten(2, (-1, G)).transpose(1, 2).flatten(0, 1)[self.place_A]


def _rows_by_prompt(prompt_A: Tensor, prompts: int) -> tuple[Tensor, Tensor]:
    """rows_BN and place_A of rows whose prompts are prompt_A."""
    is_own_BA = prompt_A == torch.arange(prompts, device=prompt_A.device)[:, None]
    rank_A = (is_own_BA.cumsum(dim=1) - 1).gather(0, prompt_A[None])[0]
    width = int(rank_A.max()) + 1
    place_A = prompt_A * width + rank_A
    rows_BN = place_A.new_zeros(prompts * width).scatter(
        0, place_A, torch.arange(len(prompt_A), device=prompt_A.device)
    )
    return rows_BN.view(prompts, width), place_A


def shared_prefix_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    prefix: Prefix,
    scaling: float,
    **kwargs: object,
) -> tuple[Tensor, None]:
    """Attention of one new token per row to [prompt, own tokens].

    One softmax is over both. query is [A, heads, 1, D]. Rows of the same prompt, and query heads that share a key head,
    are columns of one product, so that keys and values are never repeated.
    """
    layer = cast(int, module.layer_idx)
    prompt_key, prompt_value = prefix.keys[layer], prefix.values[layer]  # [B, K, P, D]
    (_, K, P, D), (A, H) = prompt_key.shape, query.shape[:2]
    query_AKGD = query.view(A, K, H // K, D) * scaling
    to_prompt = prefix.by_prompt(query_AKGD) @ prompt_key.transpose(2, 3)
    if prefix.padding_B11P is not None:
        to_prompt.masked_fill_(prefix.padding_B11P, -torch.inf)
    to_own = prefix.by_prompt(query_AKGD @ key.transpose(2, 3))
    scores = torch.cat([to_prompt, to_own], dim=3).float().softmax(dim=3).to(value.dtype)
    on_prompt, on_own = scores.split([P, key.shape[2]], dim=3)
    attended = prefix.by_row(on_prompt @ prompt_value, H // K) + prefix.by_row(on_own, H // K) @ value
    return attended.reshape(A, 1, H, D), None


AttentionInterface.register(SHARED_PREFIX, shared_prefix_attention)
AttentionMaskInterface.register(SHARED_PREFIX, sdpa_mask)


class OwnCache(Cache):
    """The decoded tokens of every layer, empty at first."""

    def __init__(self, layers: int) -> None:
        self._own = [OwnLayer() for _ in range(layers)]
        super().__init__(layers=[*self._own])

    def keep(self, rows: Tensor) -> None:
        """Only these rows go on."""
        for layer in self._own:
            if layer.is_initialized:
                layer.keep(rows)


@contextmanager
def shared_prefix(model: PreTrainedModel) -> Iterator[None]:
    """Within the block the language model attends by `shared_prefix_attention`."""
    before = model.config.text_config._attn_implementation
    model.set_attn_implementation({"text_config": SHARED_PREFIX})
    try:
        yield
    finally:
        model.set_attn_implementation({"text_config": before})

"""Attention of many rows that go on from few prompts.

A prompt's keys and values are read once per token, however many rows go on from it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache
from transformers.modeling_utils import AttentionInterface, PreTrainedModel

SHARED_PREFIX = "shared_prefix"


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
        """States side by side at their prompts.

        They are [A, K, G, X] and become [B, K, N · G, X].
        """
        return states_AKGX[self.rows_BN].transpose(1, 2).flatten(2, 3)

    def by_row(self, states: Tensor, G: int) -> Tensor:
        """The reverse of `by_prompt`; G says how many states a row has."""
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
    later_C: Tensor | None = None,
    **kwargs: object,
) -> tuple[Tensor, None]:
    """Attention of one new token per row to [prompt, own tokens].

    One softmax is over both. query is [A, heads, 1, D]; key and value hold the row's own tokens. later_C is true where
    they are not filled yet; None stands for nowhere. Rows of the same prompt, and query heads that share a key head,
    are columns of one product, so that keys and values are never repeated.
    """
    layer = cast(int, module.layer_idx)
    prompt_key, prompt_value = prefix.keys[layer], prefix.values[layer]  # [B, K, P, D]
    (_, K, P, D), (A, H) = prompt_key.shape, query.shape[:2]
    query_AKGD = query.view(A, K, H // K, D) * scaling
    to_prompt = prefix.by_prompt(query_AKGD) @ prompt_key.transpose(2, 3)
    if prefix.padding_B11P is not None:
        to_prompt.masked_fill_(prefix.padding_B11P, -torch.inf)
    to_own_AKGC = query_AKGD @ key.transpose(2, 3)
    if later_C is not None:
        to_own_AKGC.masked_fill_(later_C, -torch.inf)
    scores = torch.cat([to_prompt, prefix.by_prompt(to_own_AKGC)], dim=3).float().softmax(dim=3).to(value.dtype)
    on_prompt, on_own = scores.split([P, key.shape[2]], dim=3)
    attended = prefix.by_row(on_prompt @ prompt_value, H // K) + prefix.by_row(on_own, H // K) @ value
    return attended.reshape(A, 1, H, D), None


# Without a registered mask, transformers makes none: rows see all that their cache returns.
AttentionInterface.register(SHARED_PREFIX, shared_prefix_attention)


@contextmanager
def shared_prefix(model: PreTrainedModel) -> Iterator[None]:
    """Within the block the language model attends by `shared_prefix_attention`."""
    before = model.config.text_config._attn_implementation
    model.set_attn_implementation({"text_config": SHARED_PREFIX})
    try:
        yield
    finally:
        model.set_attn_implementation({"text_config": before})

"""Attention of many rows that go on from few prompts.

A prompt's keys and values are read once per token, however many rows go on from it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn
from transformers.modeling_utils import AttentionInterface, PreTrainedModel

from stages.generation.cache import PromptCache, PromptLayer
from stages.model.recurrent import use_packed_states

SHARED_PREFIX = "shared_prefix"


class Prefix:
    """The prefilled prompts, and the rows that go on from each.

    The cache holds B places of P tokens. Layers that are `recurrent` have states instead of keys and values there.
    padding_B11P is true before a prompt. `is_padded` says whether a prompt was ever shorter than its place. rows_BN
    lists the rows of each place, filled up with row 0. place_A is the place of each row in the flattened rows_BN; for
    a row without a prompt it is 0.
    """

    def __init__(self, recurrent: Sequence[bool], prompts: int, tokens: int, device: torch.device) -> None:
        self.cache = PromptCache(recurrent, prompts, tokens)
        self.is_padded = False
        self.padding_B11P = torch.ones(prompts, 1, 1, tokens, dtype=torch.bool, device=device)
        self.rows_BN, self.place_A = (torch.zeros(0, dtype=torch.long, device=device) for _ in range(2))

    def write_to(self, places: Sequence[int], lengths: Sequence[int]) -> None:
        """The next pass through the model holds prompts of such lengths."""
        self.cache.write_to(places)
        self.is_padded |= min(lengths) < self.padding_B11P.shape[3]
        P, device = self.padding_B11P.shape[3], self.padding_B11P.device
        before_B = P - torch.tensor(lengths, device=device)
        self.padding_B11P[places] = (torch.arange(P, device=device) < before_B[:, None])[:, None, None]

    def seat(self, prompt_A: Sequence[int | None], width: int) -> None:
        """Let row a go on from the prompt at place prompt_A[a].

        A row with None has no prompt. A prompt has at most `width` rows. Tensors whose shape stays are changed in
        place.
        """
        rows_BN: list[list[int]] = [[] for _ in self.padding_B11P]
        place_A = [0] * len(prompt_A)
        for row, prompt in enumerate(prompt_A):
            if prompt is not None:
                place_A[row] = prompt * width + len(rows_BN[prompt])
                rows_BN[prompt].append(row)
        filled = [[*rows, *[0] * (width - len(rows))] for rows in rows_BN]
        self.rows_BN, self.place_A = _into(self.rows_BN, filled), _into(self.place_A, place_A)

    def by_prompt(self, states_AKGX: Tensor) -> Tensor:
        """States side by side at their prompts.

        They are [A, K, G, X] and become [B, K, N · G, X].
        """
        return states_AKGX[self.rows_BN].transpose(1, 2).flatten(2, 3)

    def by_row(self, states: Tensor, G: int) -> Tensor:
        """The reverse of `by_prompt`; G says how many states a row has."""
        return states.unflatten(2, (-1, G)).transpose(1, 2).flatten(0, 1)[self.place_A]


def _into(buffer: Tensor, values: Sequence[object]) -> Tensor:
    """The buffer with these values, or a new one."""
    new = torch.tensor(values, device=buffer.device)
    return buffer.copy_(new) if buffer.shape == new.shape else new


def shared_prefix_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    prefix: Prefix,
    scaling: float,
    later_A11C: Tensor,
    **kwargs: object,
) -> tuple[Tensor, None]:
    """Attention of one new token per row to [prompt, own tokens].

    One softmax is over both. query is [A, heads, 1, D]; key and value hold the row's own tokens. later_A11C is true
    where they are not filled yet. Rows of the same prompt, and query heads that share a key head, are columns of one
    product, so that keys and values are never repeated.
    """
    stored = cast(PromptLayer, prefix.cache.prompt_layers[cast(int, module.layer_idx)])
    prompt_key, prompt_value = cast(Tensor, stored.keys), cast(Tensor, stored.values)  # [B, K, P, D]
    (_, K, P, D), (A, H) = prompt_key.shape, query.shape[:2]
    query_AKGD = query.view(A, K, H // K, D) * scaling
    to_prompt = prefix.by_prompt(query_AKGD) @ prompt_key.transpose(2, 3)
    if prefix.is_padded:
        to_prompt.masked_fill_(prefix.padding_B11P, -torch.inf)
    to_own_AKGC = (query_AKGD @ key.transpose(2, 3)).masked_fill_(later_A11C, -torch.inf)
    scores = torch.cat([to_prompt, prefix.by_prompt(to_own_AKGC)], dim=3).float().softmax(dim=3).to(value.dtype)
    on_prompt, on_own = scores.split([P, key.shape[2]], dim=3)
    attended = prefix.by_row(on_prompt @ prompt_value, H // K) + prefix.by_row(on_own, H // K) @ value
    return attended.reshape(A, 1, H, D), None


# Without a registered mask, transformers makes none: rows see all that their cache returns.
AttentionInterface.register(SHARED_PREFIX, shared_prefix_attention)


@contextmanager
def shared_prefix(model: PreTrainedModel) -> Iterator[None]:
    """Within the block the language model attends by `shared_prefix_attention`."""
    use_packed_states(model)
    before = model.config.text_config._attn_implementation
    model.set_attn_implementation({"text_config": SHARED_PREFIX})
    try:
        yield
    finally:
        model.set_attn_implementation({"text_config": before})

"""Decoding in room that grows: the way of the CPU.

Rows leave as they end.
"""

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin
from transformers.modeling_utils import PreTrainedModel

from stages.generation.attention import shared_prefix
from stages.generation.prefill import Prefilled
from stages.generation.sampling import Sampling, choose, log_probabilities

FIRST_COLUMNS = 32  # tokens per row that there is room for at first; doubled when full


class GrowingLayer(CacheLayerMixin):
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


class GrowingCache(Cache):
    """The decoded tokens of every layer, empty at first."""

    def __init__(self, layers: int) -> None:
        self._growing = [GrowingLayer() for _ in range(layers)]
        super().__init__(layers=[*self._growing])

    def keep(self, rows: Tensor) -> None:
        """Only these rows go on."""
        for layer in self._growing:
            if layer.is_initialized:
                layer.keep(rows)


def decode_growing(model: PreTrainedModel, start: Prefilled, sampling: Sampling) -> tuple[Tensor, Tensor]:
    """Token ids and their log-probabilities, [R, C] each.

    Padding follows the end token of a row.
    """
    prefix, cache, logits_AV = start.prefix, GrowingCache(len(start.prefix.keys)), start.logits_RV
    ids_RC = torch.full_like(start.uniform_RC, start.pad_id, dtype=torch.long)
    logps_RC = torch.zeros_like(start.uniform_RC)
    active_A = torch.arange(len(start.prompt_R), device=model.device)  # the rows still decoded, as rows of the results
    with shared_prefix(model):
        for step in range(sampling.max_new_tokens):
            ids_A = choose(logits_AV.float(), start.uniform_RC[active_A, step], sampling, start.banned_ids)
            ids_RC[active_A, step] = ids_A
            logps_RC[active_A, step] = log_probabilities(logits_AV.float(), ids_A, sampling.temperature)
            going_A = ~torch.isin(ids_A, start.end_ids)
            if step + 1 == sampling.max_new_tokens or not going_A.any():
                break
            if not going_A.all():
                keep = going_A.nonzero()[:, 0]
                active_A, ids_A = active_A[keep], ids_A[keep]
                prefix.keep(start.prompt_R[active_A])
                cache.keep(keep)
            logits_AV = model(
                input_ids=ids_A[:, None],
                position_ids=(start.position_R[active_A] + step)[None, :, None].expand(3, -1, 1),
                past_key_values=cache,
                use_cache=True,
                prefix=prefix,
            ).logits[:, -1]
    return ids_RC, logps_RC

"""Keys and values of the prompts, and of the rows' own tokens."""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin


class PromptLayer(CacheLayerMixin):
    """One layer's keys and values of prompts, [prompts, heads, tokens, D].

    A forward pass writes its prompts to `places`, at the right end of their room, and attends to them alone.
    """

    def __init__(self, prompts: int, tokens: int) -> None:
        super().__init__()
        self._prompts, self._tokens = prompts, tokens
        self.places: Sequence[int] = []

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Make room for all prompts."""
        _, heads, _, D = key_states.shape
        self.keys, self.values = (
            states.new_zeros(self._prompts, heads, self._tokens, D) for states in (key_states, value_states)
        )
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Write the prompts of this pass, and return them."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        for room, states in zip(_filled(self), (key_states, value_states), strict=True):
            room[self.places, :, -states.shape[2] :] = states
        return key_states, value_states

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of the keys that a mask covers."""
        return query_length, 0

    def get_seq_length(self) -> int:
        """0: nothing comes before a prompt."""
        return 0

    def get_max_length(self) -> int:
        """Tokens of the longest prompt."""
        return self._tokens


class PromptCache(Cache):
    """The prompts' keys and values in every layer."""

    def __init__(self, layers: int, prompts: int, tokens: int) -> None:
        self.prompt_layers = [PromptLayer(prompts, tokens) for _ in range(layers)]
        super().__init__(layers=[*self.prompt_layers])

    def write_to(self, places: Sequence[int]) -> None:
        """The next pass holds the prompts of these places."""
        for layer in self.prompt_layers:
            layer.places = places

    def tensors(self) -> list[Tensor]:
        """Keys and values of every layer."""
        return [states for layer in self.prompt_layers for states in _filled(layer)]


class OwnLayer(CacheLayerMixin):
    """One layer's keys and values of the rows' own tokens.

    They are [rows, heads, columns, D]. place_AK says where each row's next token goes, for each head. Attention reads
    the first `columns`.
    """

    def __init__(self, keys: Tensor, values: Tensor, place_AK: Tensor) -> None:
        super().__init__()
        self.keys, self.values, self.is_initialized = keys, values, True
        self.place_AK, self.columns = place_AK, 0

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing to do: the room is there from the start."""

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Write one token per row, and return the columns that are read."""
        keys, values = _filled(self)
        for room, states in zip((keys, values), (key_states, value_states), strict=True):
            room.flatten(0, 2).index_copy_(0, self.place_AK.flatten(), states.flatten(0, 2))
        return keys[:, :, : self.columns], values[:, :, : self.columns]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of the keys that a mask covers."""
        return self.columns, 0

    def get_seq_length(self) -> int:
        """The columns that are read.

        A tensor on the device knows the filled ones.
        """
        return self.columns

    def get_max_length(self) -> int:
        """The number of columns."""
        return _filled(self)[0].shape[2]


class OwnCache(Cache):
    """The rows' own tokens in every layer, in the prompts' number format."""

    def __init__(self, prompts: PromptCache, rows: int, columns: int) -> None:
        stored = [_filled(layer) for layer in prompts.prompt_layers]
        (_, heads, _, _), device = stored[0][0].shape, stored[0][0].device
        self._first_AK = columns * torch.arange(rows * heads, device=device).view(rows, heads)
        self._place_AK = self._first_AK.clone()
        self._own = [
            OwnLayer(
                keys.new_zeros(rows, heads, columns, keys.shape[3]),
                values.new_zeros(rows, heads, columns, values.shape[3]),
                self._place_AK,
            )
            for keys, values in stored
        ]
        super().__init__(layers=[*self._own])

    def write_to(self, column_A: Tensor) -> None:
        """The next token of a row goes to its column."""
        self._place_AK.copy_(self._first_AK + column_A[:, None])

    def read(self, columns: int) -> None:
        """Let attention read the first `columns`."""
        for layer in self._own:
            layer.columns = columns

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows alone, moved to the front.

        Columns that attention does not read yet are not moved.
        """
        self._first_AK, self._place_AK = self._first_AK[: len(rows)], self._place_AK[: len(rows)]
        for layer in self._own:
            for states in _filled(layer):
                states[: len(rows), :, : layer.columns] = states[rows, :, : layer.columns]
            layer.keys, layer.values = (states[: len(rows)] for states in _filled(layer))
            layer.place_AK = self._place_AK

    def tensors(self) -> list[Tensor]:
        """Keys and values of every layer."""
        return [states for layer in self._own for states in _filled(layer)]


def _filled(layer: CacheLayerMixin) -> tuple[Tensor, Tensor]:
    assert layer.keys is not None
    assert layer.values is not None
    return layer.keys, layer.values

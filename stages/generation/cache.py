"""Keys and values of the prompts, and of the rows' own tokens.

A layer of linear attention has states in their place: those after each prompt, and those of each row.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin, LinearAttentionCacheLayerMixin

from stages.model.recurrent import States


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


class _StateLayer(LinearAttentionCacheLayerMixin):
    """One layer's states, a row each."""

    def lazy_initialization(self, *args: object, **kwargs: object) -> None:
        """Nothing to do: room is made from the first states."""

    def tensors(self) -> tuple[Tensor, Tensor]:
        """The state of the convolution and that of the recurrence."""
        conv, recurrent = self.conv_states[0], self.recurrent_states[0]
        assert conv is not None
        assert recurrent is not None
        return conv, recurrent


class PromptStates(_StateLayer):
    """One layer's states after the prompts.

    A forward pass writes those of its prompts to `places`. The prompts stand at the right end of their rows, and
    padding before them leaves both states at 0.
    """

    def __init__(self, prompts: int) -> None:
        super().__init__()
        self._prompts = prompts
        self.places: Sequence[int] = []

    def update_conv_state(self, conv_states: Tensor, state_idx: int = 0, conv_kernel_size: int = 0) -> Tensor:
        """Write the last inputs of the prompts, and return all."""
        states = States()
        joined = states.update_conv_state(conv_states, 0, conv_kernel_size)
        assert states.conv is not None
        self.conv_states[0] = self._written(self.conv_states[0], states.conv)
        return joined

    def update_recurrent_state(self, recurrent_states: Tensor, state_idx: int = 0) -> Tensor:
        """Write the states after the prompts."""
        self.recurrent_states[0] = self._written(self.recurrent_states[0], recurrent_states)
        return recurrent_states

    def _written(self, room: Tensor | None, states: Tensor) -> Tensor:
        room = states.new_zeros(self._prompts, *states.shape[1:]) if room is None else room
        room[self.places] = states
        return room


class OwnStates(_StateLayer):
    """One layer's states of the rows, which each token changes in place."""

    def __init__(self, prompts: PromptStates, rows: int) -> None:
        super().__init__()
        conv, recurrent = (states.new_zeros(rows, *states.shape[1:]) for states in prompts.tensors())
        self.conv_states[0], self.recurrent_states[0], self.has_previous_state[0] = conv, recurrent, True

    def update_conv_state(self, conv_states: Tensor, state_idx: int = 0) -> Tensor:
        """Never called: a step of one token changes the state itself."""
        raise NotImplementedError

    def update_recurrent_state(self, recurrent_states: Tensor, state_idx: int = 0) -> Tensor:
        """Write the states after a token."""
        return self.tensors()[1].copy_(recurrent_states)

    def fork(self, prompts: PromptStates, rows: Tensor, places: Tensor) -> None:
        """Let these rows go on from the prompts at these places."""
        for own, after_prompt in zip(self.tensors(), prompts.tensors(), strict=True):
            own[rows] = after_prompt[places]

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows alone, moved to the front."""
        for states in self.tensors():
            states[: len(rows)] = states[rows]
        self.conv_states[0], self.recurrent_states[0] = (states[: len(rows)] for states in self.tensors())


class PromptCache(Cache):
    """The prompts' keys and values in every layer.

    A layer that `recurrent` names has states in their place.
    """

    def __init__(self, recurrent: Sequence[bool], prompts: int, tokens: int) -> None:
        self.prompt_layers = [PromptStates(prompts) if each else PromptLayer(prompts, tokens) for each in recurrent]
        super().__init__(layers=[*self.prompt_layers])

    def write_to(self, places: Sequence[int]) -> None:
        """The next pass holds the prompts of these places."""
        for layer in self.prompt_layers:
            layer.places = places

    def tensors(self) -> list[Tensor]:
        """Keys and values, or states, of every layer."""
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

    @classmethod
    def of(cls, prompts: PromptLayer, rows: int, columns: int, place_AK: Tensor) -> "OwnLayer":
        """Room for so many rows and columns, beside the prompts' layer."""
        keys, values = (
            states.new_zeros(rows, states.shape[1], columns, states.shape[3]) for states in _filled(prompts)
        )
        return cls(keys, values, place_AK)

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows alone, moved to the front.

        Columns that attention does not read yet are not moved.
        """
        for states in _filled(self):
            states[: len(rows), :, : self.columns] = states[rows, :, : self.columns]
        self.keys, self.values = (states[: len(rows)] for states in _filled(self))

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
        self._prompts = prompts.prompt_layers
        stored = [_filled(layer) for layer in self._prompts if isinstance(layer, PromptLayer)]
        (_, heads, _, _), device = stored[0][0].shape, stored[0][0].device
        self._first_AK = columns * torch.arange(rows * heads, device=device).view(rows, heads)
        self._place_AK = self._first_AK.clone()
        self._own = [
            OwnLayer.of(layer, rows, columns, self._place_AK)
            if isinstance(layer, PromptLayer)
            else OwnStates(layer, rows)
            for layer in self._prompts
        ]
        super().__init__(layers=[*self._own])

    def fork(self, rows: Tensor, places: Tensor) -> None:
        """Continue these rows from the states of the prompts at these places."""
        for own, prompts in zip(self._own, self._prompts, strict=True):
            if isinstance(own, OwnStates) and isinstance(prompts, PromptStates):
                own.fork(prompts, rows, places)

    def write_to(self, column_A: Tensor) -> None:
        """The next token of a row goes to its column."""
        self._place_AK.copy_(self._first_AK + column_A[:, None])

    def read(self, columns: int) -> None:
        """Let attention read the first `columns`."""
        for layer in self._own:
            if isinstance(layer, OwnLayer):
                layer.columns = columns

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows alone, moved to the front."""
        self._first_AK, self._place_AK = self._first_AK[: len(rows)], self._place_AK[: len(rows)]
        for layer in self._own:
            layer.keep(rows)
            if isinstance(layer, OwnLayer):
                layer.place_AK = self._place_AK

    def states(self) -> list[Tensor]:
        """What a step changes besides the room of its own token."""
        return [states for layer in self._own if isinstance(layer, OwnStates) for states in layer.tensors()]

    def tensors(self) -> list[Tensor]:
        """Keys and values, or states, of every layer."""
        return [states for layer in self._own for states in _filled(layer)]


def _filled(layer: CacheLayerMixin | _StateLayer) -> tuple[Tensor, Tensor]:
    if isinstance(layer, _StateLayer):
        return layer.tensors()
    assert layer.keys is not None
    assert layer.values is not None
    return layer.keys, layer.values

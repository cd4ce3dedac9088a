"""Decoding in fixed room: the way of a GPU.

Every token is the same work at the same addresses. A step can then be captured as a CUDA graph, which launches its
kernels at once. Rows that have ended are decoded on for a while: they leave when half of the rows have ended, and a
smaller step is captured.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin
from transformers.modeling_utils import PreTrainedModel

from stages.generation.attention import shared_prefix
from stages.generation.prefill import Prefilled
from stages.generation.sampling import Sampling, choose, log_probabilities

FIRST_ROOM = 64  # own tokens per row that attention reads at first; doubled when full
CHECK_EVERY = 16  # tokens between two looks at which rows have ended: a look waits for the GPU
WARM_UPS = 2  # steps before a capture, in which libraries allocate what they need


class FixedLayer(CacheLayerMixin):
    """One layer's keys and values of own tokens, [rows, heads, tokens, D].

    `column` is a tensor that says where the next token goes. Attention reads the first `room` columns.
    """

    def __init__(self, keys: Tensor, values: Tensor, column: Tensor, room: int) -> None:
        super().__init__()
        self.keys, self.values, self.is_initialized = keys, values, True
        self._column, self._room = column, room

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing to do: the room is there from the start."""

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Write one token per row, and return the room that is read."""
        assert self.keys is not None
        assert self.values is not None
        self.keys.index_copy_(2, self._column, key_states)
        self.values.index_copy_(2, self._column, value_states)
        return self.keys[:, :, : self._room], self.values[:, :, : self._room]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of the keys that a mask covers."""
        return self._room, 0

    def get_seq_length(self) -> int:
        """The room: only tensors know which part is filled."""
        return self._room

    def get_max_length(self) -> int:
        """The room."""
        return self._room


class FixedDecoder:
    """Decodes one token per call for A rows.

    The rows are `rows_A` of the results. `tokens` of them are decoded, in ids_AC and logps_AC. ended_A says which rows
    have an end token.
    """

    def __init__(self, model: PreTrainedModel, start: Prefilled, sampling: Sampling) -> None:
        self._model, self._start, self._sampling = model, start, sampling
        self.rows_A = torch.arange(len(start.prompt_R), device=model.device)
        self.tokens, self.room = 1, 0
        self._uniform_AC, self._position_A, self._prefix = start.uniform_RC, start.position_R, start.prefix
        self._column = torch.zeros(1, dtype=torch.long, device=model.device)  # place of the last token of each row
        self._ids_A = torch.zeros_like(start.prompt_R)
        self.ids_AC = torch.full_like(start.uniform_RC, start.pad_id, dtype=torch.long)
        self.logps_AC = torch.zeros_like(start.uniform_RC)
        self.ended_A = torch.zeros_like(start.prompt_R, dtype=torch.bool)
        (_, K, _, D), (A, C) = start.prefix.keys[0].shape, start.uniform_RC.shape
        self._keys, self._values = (
            [states.new_zeros(A, K, C, D) for states in prompts] for prompts in (start.prefix.keys, start.prefix.values)
        )
        self._draw(start.logits_RV)

    def make_room(self) -> None:
        """Let attention read more columns than there are tokens."""
        C = self.ids_AC.shape[1]
        self.room = min(max(2 * self.room, FIRST_ROOM), C)
        self._fit()

    def step(self) -> None:
        """Decode one more token per row; the host never waits."""
        logits_AV = self._model(
            input_ids=self._ids_A[:, None],
            position_ids=(self._position_A + self._column)[None, :, None].expand(3, -1, 1),
            past_key_values=self._cache,
            use_cache=True,
            prefix=self._prefix,
            later_C=self._columns_C > self._column,
        ).logits[:, -1]
        self._column.add_(1)
        self._draw(logits_AV)

    @property
    def state(self) -> list[Tensor]:
        """The tensors to restore before a step is repeated."""
        return [self._column, self._ids_A, self.ended_A]

    def keep(self, rows: Tensor) -> None:
        """Keep only these rows. The buffers are new tensors at new addresses."""
        self.rows_A = self.rows_A[rows]
        self._uniform_AC, self._position_A = self._uniform_AC[rows], self._position_A[rows]
        self._ids_A, self.ids_AC, self.logps_AC = self._ids_A[rows], self.ids_AC[rows], self.logps_AC[rows]
        self.ended_A = self.ended_A[rows]
        self._keys, self._values = ([states[rows] for states in layers] for layers in (self._keys, self._values))
        self._prefix.keep(self._start.prompt_R[self.rows_A])
        self._fit()

    def buffers(self) -> list[Tensor]:
        """Everything that a step reads and writes besides weights and prompts."""
        own = [self._column, self._ids_A, self._uniform_AC, self._position_A, self.ids_AC, self.logps_AC, self.ended_A]
        return [*own, *self._keys, *self._values]

    def _draw(self, logits_AV: Tensor) -> None:
        """Draw the token at `_column` of every row from the logits."""
        uniform_A = self._uniform_AC.index_select(1, self._column)[:, 0]
        ids_A = choose(logits_AV.float(), uniform_A, self._sampling, self._start.banned_ids)
        logps_A = log_probabilities(logits_AV.float(), ids_A, self._sampling.temperature)
        self._ids_A.copy_(ids_A)
        self.ids_AC.index_copy_(1, self._column, ids_A[:, None])
        self.logps_AC.index_copy_(1, self._column, logps_A[:, None])
        self.ended_A.logical_or_((ids_A[:, None] == self._start.end_ids).any(dim=1))

    def _fit(self) -> None:
        """Show the model the present rows and room."""
        self._columns_C = torch.arange(self.room, device=self._column.device)
        layers = [
            FixedLayer(keys, values, self._column, self.room)
            for keys, values in zip(self._keys, self._values, strict=True)
        ]
        self._cache = Cache(layers=[*layers])


def decode_fixed(model: PreTrainedModel, start: Prefilled, sampling: Sampling) -> tuple[Tensor, Tensor]:
    """Token ids and their log-probabilities, [R, C] each.

    Any tokens may follow the end token of a row.
    """
    decoder = FixedDecoder(model, start, sampling)
    ids_RC, logps_RC = torch.empty_like(decoder.ids_AC), torch.empty_like(decoder.logps_AC)
    with shared_prefix(model):
        while True:
            going = (~decoder.ended_A).nonzero()[:, 0]
            has_room = decoder.tokens < sampling.max_new_tokens and len(going) > 0
            if not has_room or 2 * len(going) <= len(decoder.rows_A):
                ids_RC[decoder.rows_A], logps_RC[decoder.rows_A] = decoder.ids_AC, decoder.logps_AC
                if not has_room:
                    return ids_RC, logps_RC
                decoder.keep(going)
            if decoder.tokens > decoder.room:
                decoder.make_room()
            _decode_while_it_fits(decoder, sampling.max_new_tokens)


def _decode_while_it_fits(decoder: FixedDecoder, most: int) -> None:
    """Decode until the room is full or half the rows have ended.

    `most` tokens are the end too.
    """
    step = captured(decoder) if decoder.ids_AC.is_cuda else decoder.step
    last = min(decoder.room + 1, most)
    while decoder.tokens < last:
        count = min(CHECK_EVERY, last - decoder.tokens)
        for _ in range(count):
            step()
        decoder.tokens += count
        if 2 * int(decoder.ended_A.sum()) >= len(decoder.rows_A):
            return


def captured(decoder: FixedDecoder) -> Callable[[], None]:
    """The decoder's step as a CUDA graph."""
    saved = [tensor.clone() for tensor in decoder.state]
    side, current = torch.cuda.Stream(), torch.cuda.current_stream()
    side.wait_stream(current)
    with torch.cuda.stream(side):
        for _ in range(WARM_UPS):
            decoder.step()
            for tensor, before in zip(decoder.state, saved, strict=True):
                tensor.copy_(before)
    current.wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # other threads read frames meanwhile
        decoder.step()
    return graph.replay

"""Rows that are decoded side by side, one token per step.

A step is the same work at the same addresses, whichever prompts the rows go on from. On a GPU it is captured as a CUDA
graph, which launches its kernels at once.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers.modeling_utils import PreTrainedModel

from stages.generation.attention import Prefix, shared_prefix
from stages.generation.cache import OwnCache
from stages.generation.prefill import end_ids, prefill, uniforms
from stages.generation.sampling import Sampling, choose, log_probabilities
from stages.model.inputs import Prompt, PromptBuilder

WARM_UPS = 2  # steps before a capture, in which libraries allocate what they need


Taken = tuple[Tensor, Tensor, bool]  # tokens [C], their log-probabilities [C], and whether an end token is the last


@dataclass(frozen=True)
class Room:
    """How much is decoded at once.

    `rows` are decoded side by side. There are places for `prompts` of at most `prompt_tokens`. `width` is the most rows
    that one prompt has.
    """

    rows: int
    prompts: int
    prompt_tokens: int
    width: int


@dataclass(frozen=True)
class Pace:
    """How often a device looks for ended rows, and what attention reads.

    After every `check_every` tokens the host looks for rows that have ended. Attention reads `first_columns` own
    tokens, and twice as many whenever they are full; with None it reads just those that are filled. When no prompt
    waits and a share `leave` of the rows has ended, the other rows move together; with 0 one ended row is enough.
    """

    check_every: int
    first_columns: int | None
    leave: float

    def columns(self, needed: int) -> int:
        """Columns that attention reads when `needed` are filled."""
        if self.first_columns is None:
            return needed
        return self.first_columns << ((needed - 1) // self.first_columns).bit_length()


CPU = Pace(check_every=1, first_columns=None, leave=0.0)
GPU = Pace(check_every=16, first_columns=64, leave=0.5)  # a check waits for the GPU; each new shape is captured


@dataclass(frozen=True)
class Newcomer:
    """A prompt that enters at a place, with its rows."""

    prompt: Prompt
    seed: int
    place: int
    rows: Sequence[int]


class Decoder:
    """A rows, each with its own tokens in C columns.

    column_A is the column of a row's last token. A row that has ended stands still until another one takes its room.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        builder: PromptBuilder,
        sampling: Sampling,
        room: Room,
        pace: Pace | None = None,
    ) -> None:
        self.pace = pace or (GPU if model.device.type == "cuda" else CPU)
        self._model, self._builder, self._sampling, self._width = model, builder, sampling, room.width
        (A, C), device = (room.rows, sampling.max_new_tokens), model.device
        recurrent = builder.family.recurrent(model.config)
        self.prefix = Prefix(recurrent, room.prompts, room.prompt_tokens, device)
        self._prompt_A: list[int | None] = [None] * A
        self._end_ids = torch.tensor(end_ids(model, builder), device=device)
        self._banned_ids = torch.tensor(builder.banned_ids, device=device)
        self._row_A = torch.arange(A, device=device)
        self.column_A, self._position_A = (torch.zeros(A, dtype=torch.long, device=device) for _ in range(2))
        self.ended_A = torch.ones(A, dtype=torch.bool, device=device)
        self.ids_AC = torch.full((A, C), builder.pad_id, device=device)
        self.logps_AC, self._uniform_AC = (torch.zeros(A, C, device=device) for _ in range(2))
        self._column_C = torch.arange(C, device=device)
        self._own: OwnCache | None = None  # its number format is that of the first prompts
        self._columns = 0
        self._captured: dict[tuple[int, bool], Callable[[], None]] = {}  # by the columns read, and is_padded

    @torch.no_grad()
    def enter(self, newcomers: Sequence[Newcomer], media: Mapping[str, object] | None = None) -> None:
        """Prefill prompts, and draw the first token of their rows."""
        prompts, places = [each.prompt for each in newcomers], [each.place for each in newcomers]
        logits_BV = prefill(self._model, self._builder, prompts, self.prefix, places, media)
        if self._own is None:
            self._own = OwnCache(self.prefix.cache, *self.ids_AC.shape)
        rows_R = [row for each in newcomers for row in each.rows]
        newcomer_R = [index for index, each in enumerate(newcomers) for _ in each.rows]
        for row, index in zip(rows_R, newcomer_R, strict=True):
            self._prompt_A[row] = places[index]
        self.prefix.seat(self._prompt_A, self._width)
        at_R = torch.tensor(rows_R, device=self._row_A.device)
        self.column_A[at_R], self.ended_A[at_R] = 0, False
        self._position_A[at_R] = at_R.new_tensor([prompts[index].next_position for index in newcomer_R])
        self._own.fork(at_R, at_R.new_tensor([places[index] for index in newcomer_R]))
        C = self._uniform_AC.shape[1]
        uniform_RC = torch.cat([uniforms(len(each.rows), C, each.seed) for each in newcomers])
        self._uniform_AC[at_R] = uniform_RC.to(at_R.device)
        self._draw(logits_BV[at_R.new_tensor(newcomer_R)], at_R)

    def take(self, rows: Sequence[int]) -> list[Taken]:
        """The tokens of rows that have ended, which become free."""
        at = self._row_A.new_tensor(rows)
        ids_RC, logps_RC, lengths_R = self.ids_AC[at].cpu(), self.logps_AC[at].cpu(), (self.column_A[at] + 1).tolist()
        for row in rows:
            self._prompt_A[row] = None
        is_end_RC = torch.isin(ids_RC, self._end_ids.cpu())
        return [
            (ids_C[:length], logps_C[:length], bool(is_end_C[length - 1]))
            for ids_C, logps_C, is_end_C, length in zip(ids_RC, logps_RC, is_end_RC, lengths_R, strict=True)
        ]

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows alone, moved to the front."""
        assert self._own is not None
        self._prompt_A = [self._prompt_A[row] for row in rows]
        seated = [prompt for prompt in self._prompt_A if prompt is not None]
        self._width = max(map(seated.count, seated))
        self.prefix.seat(self._prompt_A, self._width)
        kept = self._row_A.new_tensor(rows)
        self._own.keep(kept)
        self._row_A = self._row_A[: len(rows)]
        for name in ("column_A", "ended_A", "ids_AC", "logps_AC", "_position_A", "_uniform_AC"):
            states = getattr(self, name)
            states[: len(rows)] = states[kept]
            setattr(self, name, states[: len(rows)])
        self._captured.clear()

    @torch.no_grad()
    def run(self, enough: int) -> list[int]:
        """Decode until `enough` rows have ended; returns all ended rows."""
        with shared_prefix(self._model):
            while True:
                ended_A, columns_A = self.ended_A.tolist(), self.column_A.tolist()
                ended = [row for row, has_ended in enumerate(ended_A) if has_ended]
                if len(ended) >= enough:
                    return ended
                longest = max(column for column, has_ended in zip(columns_A, ended_A, strict=True) if not has_ended)
                steps = min(self.pace.check_every, len(self._column_C) - 1 - longest)
                self.read(longest + steps)
                step = self._step_as_a_graph() if self.ids_AC.is_cuda else self.step
                for _ in range(steps):
                    step()

    def read(self, columns: int) -> None:
        """Let attention read at least this many columns."""
        assert self._own is not None
        self._columns = min(self.pace.columns(columns), len(self._column_C))
        self._own.read(self._columns)

    def step(self) -> None:
        """Decode one more token per row; the host never waits."""
        assert self._own is not None
        self._own.write_to(self.column_A)
        logits_AV = self._model(
            input_ids=self.ids_AC.gather(1, self.column_A[:, None]),
            position_ids=(self._position_A + self.column_A)[None, :, None].expand(3, -1, 1),
            past_key_values=self._own,
            use_cache=True,
            prefix=self.prefix,
            later_A11C=self._column_C[: self._columns] > self.column_A[:, None, None, None],
        ).logits[:, -1]
        self.column_A.add_(~self.ended_A)
        self._draw(logits_AV, self._row_A)

    def buffers(self) -> list[Tensor]:
        """Everything that a step reads and writes besides weights."""
        assert self._own is not None
        rows = [self.column_A, self._position_A, self.ended_A, self.ids_AC, self.logps_AC, self._uniform_AC]
        prefix = [self.prefix.padding_B11P, self.prefix.rows_BN, self.prefix.place_A]
        return [*rows, *prefix, *self.prefix.cache.tensors(), *self._own.tensors()]

    def _draw(self, logits_RV: Tensor, rows_R: Tensor) -> None:
        """Draw the token at the column of these rows from the logits.

        A row that has ended keeps its last token.
        """
        at = rows_R, self.column_A[rows_R]
        ids_R = choose(logits_RV.float(), self._uniform_AC[at], self._sampling, self._banned_ids)
        logps_R = log_probabilities(logits_RV.float(), ids_R, self._sampling.temperature)
        ended_R = self.ended_A[rows_R]
        self.ids_AC[at] = torch.where(ended_R, self.ids_AC[at], ids_R)
        self.logps_AC[at] = torch.where(ended_R, self.logps_AC[at], logps_R)
        is_last_R = (ids_R[:, None] == self._end_ids).any(dim=1) | (at[1] == self._column_C[-1])
        self.ended_A[rows_R] = ended_R | is_last_R

    def _step_as_a_graph(self) -> Callable[[], None]:
        """The step as a CUDA graph, captured once per number of columns."""
        same = self._columns, self.prefix.is_padded
        if same not in self._captured:
            assert self._own is not None
            changed = [self.column_A, self.ended_A, *self._own.states()]
            self._captured[same] = captured(self.step, changed)
        return self._captured[same]


def captured(step: Callable[[], None], state: Sequence[Tensor]) -> Callable[[], None]:
    """A step as a CUDA graph.

    `state` is what must be restored before a step is repeated.
    """
    saved = [tensor.clone() for tensor in state]
    side, current = torch.cuda.Stream(), torch.cuda.current_stream()
    side.wait_stream(current)
    with torch.cuda.stream(side):
        for _ in range(WARM_UPS):
            step()
            for tensor, before in zip(state, saved, strict=True):
                tensor.copy_(before)
    current.wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # other threads read frames meanwhile
        step()
    return graph.replay

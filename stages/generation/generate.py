"""Generation for rollouts and evaluation: each prompt is prefilled once.

Rows of all prompts are decoded side by side. Where there is no room for all of them, the next prompt's rows take the
place of rows that have ended (continuous batching).
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers.modeling_utils import PreTrainedModel

from stages.generation.decoder import Decoder, Newcomer, Pace, Room
from stages.generation.prefill import passes
from stages.generation.sampling import Sampling
from stages.model.inputs import Prompt, PromptBuilder

REFILL = 1 / 8  # share of the rows that have ended when the next prompts enter: a pass serves several


@dataclass(frozen=True)
class Completion:
    """One response: its tokens ids_C (the end token included) and its text.

    logps_C are the tokens' log-probabilities at the temperature of sampling (1 if that is 0) and without top_p.
    `truncated` says whether the token limit cut the response off.
    """

    ids_C: Tensor
    logps_C: Tensor
    text: str
    truncated: bool


@dataclass(frozen=True)
class Job:
    """A prompt whose `count` responses are wanted, drawn with `seed`."""

    prompt: Prompt = field(repr=False)
    count: int
    seed: int


MediaOf = Callable[[Sequence[int]], Mapping[str, object]]  # encoded media of the jobs with these numbers


def generate(
    model: PreTrainedModel,
    builder: PromptBuilder,
    prompts: Sequence[Prompt],
    counts: Sequence[int],
    sampling: Sampling,
    seeds: Sequence[int],
    media: MediaOf | None = None,
    most_rows: int | None = None,
) -> list[list[Completion]]:
    """`counts[b]` completions of each prompt b, drawn with `seeds[b]`.

    At most `most_rows` are decoded at once, all with None.
    """
    jobs = [Job(*each) for each in zip(prompts, counts, seeds, strict=True)]
    room = room_for([len(prompt.ids_P) for prompt in prompts], counts, most_rows)
    found: dict[int, list[Completion]] = {}
    for answered in generate_continuously(model, builder, jobs, sampling, room, media):
        found |= answered
    return [found[index] for index in range(len(jobs))]


def room_for(lengths: Sequence[int], counts: Sequence[int], most_rows: int | None) -> Room:
    """Room for prompts of these lengths, each with its count of rows.

    With fewer rows than there are, prompts whose last row is long are expected to take half of the places.
    """
    rows, width = sum(counts), max(counts)
    if most_rows is not None:
        rows = min(rows, max(most_rows, width))
    return Room(rows, min(len(counts), rows, math.ceil(2 * rows / width)), max(lengths), width)


@torch.no_grad()
def generate_continuously(
    model: PreTrainedModel,
    builder: PromptBuilder,
    jobs: Iterable[Job],
    sampling: Sampling,
    room: Room,
    media: MediaOf | None = None,
    pace: Pace | None = None,
) -> Iterator[dict[int, list[Completion]]]:
    """The completions of each job, by its number, as jobs end.

    Jobs are taken when there is room for their rows. A job's completions do not depend on the jobs beside it (but for
    rounding): its random numbers come from its own seed. Placeholder tokens are never drawn. `model` is in eval mode
    meanwhile, because gradient checkpointing would drop the cache.
    """
    was_training = model.training
    model.eval()
    try:
        decoder = Decoder(model, builder, sampling, room, pace)
        yield from _Scheduler(decoder, builder, jobs, room, media).serve()
    finally:
        model.train(was_training)


@dataclass
class _Open:
    """A job that is being answered, with its completions so far."""

    number: int
    place: int
    completions: list[Completion | None]


class _Scheduler:
    """Gives rows and prompts' places to jobs, and takes them back."""

    def __init__(
        self, decoder: Decoder, builder: PromptBuilder, jobs: Iterable[Job], room: Room, media: MediaOf | None
    ) -> None:
        self._decoder, self._builder, self._media = decoder, builder, media
        self._jobs = enumerate(jobs)
        self._next = next(self._jobs, None)
        self._rows: list[tuple[_Open, int] | None] = [None] * room.rows  # a row's job, and which of its rows it is
        self._places = set(range(room.prompts))  # the free ones

    def serve(self) -> Iterator[dict[int, list[Completion]]]:
        """Answer all jobs."""
        while True:
            self._admit()
            if not any(self._rows):
                assert self._next is None, "a job has more rows than there is room for"
                return
            self._move_together()
            if answered := self._collect(self._decoder.run(self._enough())):
                yield answered

    def _admit(self) -> None:
        """Let jobs enter while there is room for all their rows."""
        free = [row for row, held in enumerate(self._rows) if held is None]
        newcomers, numbers = [], []
        while self._next and self._places and len(free) >= self._next[1].count:
            number, job = self._next
            rows, free = free[: job.count], free[job.count :]
            opened = _Open(number, min(self._places), [None] * job.count)
            self._places.remove(opened.place)
            for place, row in enumerate(rows):
                self._rows[row] = opened, place
            newcomers.append(Newcomer(job.prompt, job.seed, opened.place, rows))
            numbers.append(number)
            self._next = next(self._jobs, None)
        for together in passes([len(newcomer.prompt.ids_P) for newcomer in newcomers]):
            media = self._media([numbers[each] for each in together]) if self._media else None
            self._decoder.enter([newcomers[each] for each in together], media)

    def _move_together(self) -> None:
        """Once nothing waits, leave out rows that are free."""
        live = [row for row, held in enumerate(self._rows) if held]
        free = len(self._rows) - len(live)
        if self._next is None and free >= max(1, self._decoder.pace.leave * len(self._rows)):
            self._decoder.keep(live)
            self._rows = [self._rows[row] for row in live]

    def _enough(self) -> int:
        """How many rows must have ended before something can be done."""
        rows, free = len(self._rows), self._rows.count(None)
        if self._next:
            useful = max(self._next[1].count, math.ceil(REFILL * rows))
        else:
            useful = math.ceil(self._decoder.pace.leave * rows)
        return min(rows, max(free + 1, useful))

    def _collect(self, ended: Sequence[int]) -> dict[int, list[Completion]]:
        """Free the rows that have ended; the jobs that are answered."""
        rows, answered = [row for row in ended if self._rows[row]], {}
        for row, (ids_C, logps_C, is_whole) in zip(rows, self._decoder.take(rows), strict=True):
            held, self._rows[row] = self._rows[row], None
            assert held is not None
            opened, place = held
            opened.completions[place] = Completion(ids_C, logps_C, self._builder.decode(ids_C), not is_whole)
            completions = [each for each in opened.completions if each]
            if len(completions) == len(opened.completions):
                self._places.add(opened.place)
                answered[opened.number] = completions
        return answered

"""What an engine is asked, and the engine of a local model."""

import hashlib
import logging
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from transformers.modeling_utils import PreTrainedModel

from stages.data.order import Order, permutation
from stages.data.outputs import Output, OutputStatus
from stages.data.prompt import PromptStyle
from stages.data.sample import Sample
from stages.generation.generate import Completion, Job, generate_continuously, room_for
from stages.generation.sampling import Sampling
from stages.model.inputs import Prompt, PromptBuilder, UnusableSample
from stages.model.load import Precision, load_model
from stages.run.progress import progress_bar
from stages.video.frame_store import FrameReader

log = logging.getLogger(__name__)

ROUND = 16  # showings of a round for each that is decoded at once

Keep = Callable[[Sequence[Output]], None]


@dataclass(frozen=True)
class Showing:
    """One sample with its frames in one order, for `answers` answers."""

    sample: Sample
    order: Order
    answers: int = 1

    @property
    def key(self) -> str:
        """The key of its first answer."""
        return self.keys[0]

    @property
    def keys(self) -> list[str]:
        """The keys of its answers."""
        numbers = ["", *(f"#{number}" for number in range(1, self.answers))]
        return [f"{self.order}{number}/{self.sample.sample_id}" for number in numbers]


class Engine(Protocol):
    """Gives the answers whose key is not in `done`.

    It hands the outputs to `keep` as they come.
    """

    def answer(self, showings: Sequence[Showing], done: Container[str], keep: Keep) -> None: ...


@dataclass(frozen=True)
class TransformersEngine:
    """A model that runs in this process, on the GPU if possible.

    Showings of one order are answered in rounds, the longest prompts first. Within a round, the next question takes
    the place of an answer that has ended; prompts and answers at their full length are at most `batch_tokens` at once,
    unless one alone is longer. A round that a killed run left unfinished is decoded again as a whole. So a resumed
    evaluation adds up the same sums in the same order as an uninterrupted one, and a further order changes no answer.
    """

    folder: Path
    reader: FrameReader
    sampling: Sampling
    seed: int
    batch_tokens: int
    precision: Precision
    max_prompt_tokens: int | None = None
    prompt: PromptStyle | None = None  # None: the model's own

    def answer(self, showings: Sequence[Showing], done: Container[str], keep: Keep) -> None:
        if all(key in done for showing in showings for key in showing.keys):
            return
        builder = PromptBuilder(self.folder, self.prompt)
        model = load_model(self.folder, self.precision)
        if torch.cuda.is_available():
            torch.nn.Module.cuda(model)
        shown = self._answerable([self._shown(showing, builder) for showing in showings], builder, keep)
        total = sum(showing.answers for showing in showings)
        with progress_bar(total=total, unit="answer") as bar:
            bar.update(total - sum(each.showing.answers for each in shown))
            for rows, asked in rounds(shown, self.sampling.max_new_tokens, self.batch_tokens):
                keys = [key for each in asked for key in each.showing.keys]
                if all(key in done for key in keys):
                    bar.update(len(keys))
                    continue
                for outputs in self._outputs(model, builder, asked, rows):
                    keep([output for output in outputs if output["key"] not in done])
                    bar.update(len(outputs))

    def _outputs(
        self, model: PreTrainedModel, builder: PromptBuilder, asked: Sequence["Shown"], rows: int
    ) -> Iterator[list[Output]]:
        """The outputs of one round, as they come."""
        counts = [each.showing.answers for each in asked]
        jobs = (
            Job(self._prompt(each, builder), count, _seed(self.seed, each.showing.key))
            for each, count in zip(asked, counts, strict=True)
        )
        room = room_for([each.prompt_tokens for each in asked], counts, rows)
        for answered in generate_continuously(model, builder, jobs, self.sampling, room):
            yield [
                output for number, answers in answered.items() for output in _from_completions(asked[number], answers)
            ]

    def _answerable(self, shown: Sequence["Shown"], builder: PromptBuilder, keep: Keep) -> list["Shown"]:
        """The showings whose prompt is short enough.

        The others become outputs with status `error`.
        """
        answerable: list[Shown] = []
        for each in shown:
            try:
                builder.check_length(
                    each.showing.key, each.prompt_tokens, self.sampling.max_new_tokens, self.max_prompt_tokens
                )
            except UnusableSample as error:
                log.warning("no answer, counted as missing: %s", error)
                keep(_without_answer(each, str(error)))
            else:
                answerable.append(each)
        return answerable

    def _shown(self, showing: Showing, builder: PromptBuilder) -> "Shown":
        sample = showing.sample
        shape = self.reader.shape(sample.sample_id)
        order_T = permutation(shape.count, showing.order, sample.sample_id, self.seed)
        n_frames, size = len(order_T), (shape.width, shape.height) if len(order_T) else (0, 0)
        prompt_tokens = builder.prompt_length(sample, replace(shape, count=n_frames))
        return Shown(showing, prompt_tokens, order_T.tolist(), n_frames, *size)

    def _prompt(self, shown: "Shown", builder: PromptBuilder) -> Prompt:
        sample = shown.showing.sample
        return builder(sample, self.reader.load(sample.sample_id), np.array(shown.frame_order, dtype=np.int64))


@dataclass(frozen=True)
class Shown:
    """What the model sees of a showing; `width` and `height` in pixels."""

    showing: Showing
    prompt_tokens: int
    frame_order: list[int]
    n_frames: int
    width: int
    height: int


def rounds(shown: Sequence[Shown], max_new_tokens: int, batch_tokens: int) -> Iterator[tuple[int, list[Shown]]]:
    """The number of rows and the showings of each round."""
    for order in dict.fromkeys(each.showing.order for each in shown):
        same = sorted(
            (each for each in shown if each.showing.order == order),
            key=lambda each: (-each.prompt_tokens, each.showing.key),
        )
        while same:
            answers = same[0].showing.answers
            prompts = max(1, batch_tokens // (same[0].prompt_tokens + answers * max_new_tokens))
            yield prompts * answers, same[: ROUND * prompts]
            same = same[ROUND * prompts :]


def _from_completions(shown: Shown, completions: Sequence[Completion]) -> list[Output]:
    return [
        _output(shown, key, answer.text, "truncated" if answer.truncated else "ok", tokens=len(answer.ids_C))
        for key, answer in zip(shown.showing.keys, completions, strict=True)
    ]


def _without_answer(shown: Shown, detail: str) -> list[Output]:
    return [_output(shown, key, "", "error", tokens=0, detail=detail) for key in shown.showing.keys]


def _output(shown: Shown, key: str, text: str, status: OutputStatus, tokens: int, detail: str = "") -> Output:
    return {
        "key": key,
        "sample_id": shown.showing.sample.sample_id,
        "order": shown.showing.order,
        "text": text,
        "status": status,
        "tokens": tokens,
        "frame_order": shown.frame_order,
        "n_frames": shown.n_frames,
        "width": shown.width,
        "height": shown.height,
        "detail": detail,
    }


def _seed(seed: int, key: str) -> int:
    """Each showing draws its own random numbers, in any batch."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{key}".encode()).digest()[:8], "big") >> 1

"""Engines that answer: a model in this process, or a served one."""

import asyncio
import hashlib
import logging
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from pydantic import Field
from transformers.modeling_utils import PreTrainedModel

from stages.chat.ask_all import ask_all
from stages.chat.client import ChatClient
from stages.chat.parameters import ChatParams
from stages.chat.reply import Reply
from stages.chat.request import ChatSampling, Dialect, Request
from stages.data.prompt import PromptStyle, question_text
from stages.data.sample import Sample
from stages.evaluation.predictions import Output, OutputStatus
from stages.generation.generate import Completion, Job, generate_continuously, room_for
from stages.generation.sampling import Sampling
from stages.handshake.asked import Asked
from stages.handshake.first_requests import LOOKED_AT, check_prompt, files_at_hand, shake_hands
from stages.model.inputs import Prompt, PromptBuilder, UnusableSample
from stages.model.load import Precision, load_model
from stages.run.progress import progress_bar
from stages.video.frame_store import FrameReader
from stages.video.order import Order, permutation

log = logging.getLogger(__name__)

ROUND = 16  # showings of a round for each that is decoded at once

Keep = Callable[[Sequence[Output]], None]


@dataclass(frozen=True)
class Showing:
    """One sample with its frames in one order."""

    sample: Sample
    order: Order

    @property
    def key(self) -> str:
        return f"{self.order}/{self.sample.sample_id}"


class Engine(Protocol):
    """Answers the showings whose key is not in `done`.

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

    def answer(self, showings: Sequence[Showing], done: Container[str], keep: Keep) -> None:
        if all(showing.key in done for showing in showings):
            return
        builder = PromptBuilder(self.folder)
        model = load_model(self.folder, self.precision)
        if torch.cuda.is_available():
            torch.nn.Module.cuda(model)
        shown = self._answerable([self._shown(showing, builder) for showing in showings], builder, keep)
        with progress_bar(total=len(showings), unit="question") as bar:
            bar.update(len(showings) - len(shown))
            for rows, asked in rounds(shown, self.sampling.max_new_tokens, self.batch_tokens):
                if all(each.showing.key in done for each in asked):
                    bar.update(len(asked))
                    continue
                for outputs in self._outputs(model, builder, asked, rows):
                    keep([output for output in outputs if output["key"] not in done])
                    bar.update(len(outputs))

    def _outputs(
        self, model: PreTrainedModel, builder: PromptBuilder, asked: Sequence["Shown"], rows: int
    ) -> Iterator[list[Output]]:
        """The outputs of one round, as they come."""
        jobs = (Job(self._prompt(each, builder), 1, _seed(self.seed, each.showing.key)) for each in asked)
        room = room_for([each.prompt_tokens for each in asked], [1] * len(asked), rows)
        for answered in generate_continuously(model, builder, jobs, self.sampling, room):
            yield [_from_completion(asked[number], answer) for number, [answer] in answered.items()]

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
                keep([_without_answer(each, str(error))])
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
            rows = max(1, batch_tokens // (same[0].prompt_tokens + max_new_tokens))
            yield rows, same[: ROUND * rows]
            same = same[ROUND * rows :]


class ServerParams(ChatParams):
    """The server that answers, and the prompt style of its questions."""

    model: str = Field(default="", description='name of the model on the server; "": the name given as --model')
    prompt: PromptStyle = Field(
        default="video-r1", description="instruction around the question, see stages/data/prompt.py"
    )


@dataclass(frozen=True)
class ServerEngine:
    """A served model, which gets the stored frames as they are.

    A request that failed becomes an output with status `error`.
    """

    server: ServerParams
    reader: FrameReader
    sampling: Sampling
    seed: int

    def answer(self, showings: Sequence[Showing], done: Container[str], keep: Keep) -> None:
        waiting = [showing for showing in showings if showing.key not in done]
        if waiting:
            asyncio.run(self._ask(waiting, keep))

    async def _ask(self, showings: Sequence[Showing], keep: Keep) -> None:
        waiting = {showing.key: showing for showing in showings}
        async with ChatClient(self.server) as client:
            await self._shake_hands(client, showings[:LOOKED_AT])
            replies = ask_all(client, map(self._request, showings), self.server.concurrency)
            with progress_bar(total=len(showings), unit="question") as bar:
                async with aclosing(replies):
                    async for batch in replies:
                        keep([self._output(waiting[request.identity], request, reply) for request, reply in batch])
                        bar.update(len(batch))

    async def _shake_hands(self, client: ChatClient, showings: Sequence[Showing]) -> None:
        if folder := files_at_hand(self.server):
            check_prompt(folder, self.server.prompt)
            asked = [self._asked(showing) for showing in showings]
            await shake_hands(client, self.server, self.server.prompt, asked)

    def _asked(self, showing: Showing) -> Asked:
        request = self._request(showing)
        order = self._order(showing, len(self.reader.times(showing.sample.sample_id)))
        return Asked(showing.sample, self.reader.load(showing.sample.sample_id), np.array(order), request)

    def _request(self, showing: Showing) -> Request:
        sample, stored = showing.sample, self.reader.pictures(showing.sample.sample_id)
        pictures = tuple(stored[index] for index in self._order(showing, len(stored)))
        return Request(
            model=self.server.model,
            text=question_text(sample, self.server.prompt),
            pictures=pictures,
            data_type=sample.data_type,
            payload="video" if self.server.payload == "video" else "images",
            sampling=ChatSampling(
                self.sampling.temperature, self.sampling.top_p, self.sampling.max_new_tokens, self.seed
            ),
            identity=showing.key,
            dialect=Dialect.of(self.server),
            times=tuple(self.reader.times(sample.sample_id)) if pictures else (),
            frame_times=self.server.frame_times,
        )

    def _output(self, showing: Showing, request: Request, reply: Reply) -> Output:
        width, height = Image.open(BytesIO(request.pictures[0])).size if request.pictures else (0, 0)
        return {
            "key": showing.key,
            "sample_id": showing.sample.sample_id,
            "order": showing.order,
            "text": reply.whole_text,
            "status": _status(reply),
            "tokens": reply.completion_tokens,
            "frame_order": self._order(showing, len(request.pictures)),
            "n_frames": len(request.pictures),
            "width": width,
            "height": height,
            "detail": reply.detail,
        }

    def _order(self, showing: Showing, n_frames: int) -> list[int]:
        return permutation(n_frames, showing.order, showing.sample.sample_id, self.seed).tolist()


def _status(reply: Reply) -> OutputStatus:
    """The status of a reply; a refusal is an empty answer."""
    match reply.status:
        case "failed":
            return "error"
        case "refused":
            return "ok"
        case _:
            return reply.status


def _from_completion(shown: Shown, completion: Completion) -> Output:
    return {
        "key": shown.showing.key,
        "sample_id": shown.showing.sample.sample_id,
        "order": shown.showing.order,
        "text": completion.text,
        "status": "truncated" if completion.truncated else "ok",
        "tokens": len(completion.ids_C),
        "frame_order": shown.frame_order,
        "n_frames": shown.n_frames,
        "width": shown.width,
        "height": shown.height,
        "detail": "",
    }


def _without_answer(shown: Shown, detail: str) -> Output:
    return {
        "key": shown.showing.key,
        "sample_id": shown.showing.sample.sample_id,
        "order": shown.showing.order,
        "text": "",
        "status": "error",
        "tokens": 0,
        "frame_order": shown.frame_order,
        "n_frames": shown.n_frames,
        "width": shown.width,
        "height": shown.height,
        "detail": detail,
    }


def _seed(seed: int, key: str) -> int:
    """Each showing draws its own random numbers, in any batch."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{key}".encode()).digest()[:8], "big") >> 1

"""What answers questions: a model in this process, batched by length, or any server of the OpenAI chat protocol."""

import asyncio
import hashlib
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import torch
from PIL import Image
from pydantic import Field

from stages.chat.ask_all import ask_all
from stages.chat.client import ChatClient
from stages.chat.parameters import ChatParams
from stages.chat.reply import Reply
from stages.chat.request import ChatSampling, Request
from stages.data.prompt import PromptStyle, question_text
from stages.data.sample import Sample
from stages.generation.generate import Completion, Sampling, generate
from stages.model.inputs import Prompt, PromptBuilder
from stages.model.load import Precision, load_model
from stages.run.progress import progress_bar
from stages.video.frame_store import FrameReader
from stages.video.order import Order, permutation

OUTPUT_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("sample_id", pa.string()),
        ("order", pa.string()),
        ("text", pa.string()),
        ("status", pa.string()),
        ("tokens", pa.int64()),
        ("frame_order", pa.list_(pa.int64())),
        ("n_frames", pa.int64()),
        ("width", pa.int64()),
        ("height", pa.int64()),
        ("detail", pa.string()),
    ]
)
WINDOW = 128  # questions whose pixels are held at once, among which batches are formed by length

Output = dict[str, Any]
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
    """Answers the questions whose key is not in `done`, and hands outputs (rows of OUTPUT_SCHEMA) to `keep` as they come."""

    def answer(self, questions: Sequence[Showing], done: Container[str], keep: Keep) -> None: ...


@dataclass(frozen=True)
class TransformersEngine:
    """A model folder, run here, on the GPU if there is one.

    Batches depend on the questions of one order alone, and one that a killed run had not finished is answered whole, so an interrupted
    evaluation adds up the same sums in the same order as an uninterrupted one, and one more order changes no answer. Neighbours of like
    length share a batch of `batch_tokens` tokens at most (a longer question goes alone).
    """

    folder: Path
    reader: FrameReader
    sampling: Sampling
    seed: int
    batch_tokens: int
    precision: Precision

    def answer(self, questions: Sequence[Showing], done: Container[str], keep: Keep) -> None:
        if all(question.key in done for question in questions):
            return
        builder = PromptBuilder(self.folder)
        model = load_model(self.folder, self.precision)
        if torch.cuda.is_available():
            torch.nn.Module.cuda(model)
        with progress_bar(total=len(questions), unit="question") as bar:
            for window in windows(questions):
                if not all(question.key in done for question in window):
                    shown = [self._show(question, builder) for question in window]
                    for batch in batches(shown, self.sampling.max_new_tokens, self.batch_tokens):
                        if not all(each.question.key in done for each in batch):
                            seeds = [_seed(self.seed, each.question.key) for each in batch]
                            prompts = [each.prompt for each in batch]
                            answers = generate(model, builder, prompts, [1] * len(batch), self.sampling, seeds)
                            keep(
                                [_from_completion(each, answer[0]) for each, answer in zip(batch, answers, strict=True)]
                            )
                bar.update(len(window))

    def _show(self, question: Showing, builder: PromptBuilder) -> "Shown":
        frames = self.reader.load(question.sample.sample_id)
        n_frames, height, width, _ = frames.frames_THWC.shape
        order_T = permutation(n_frames, question.order, question.sample.sample_id, self.seed)
        return Shown(question, builder(question.sample, frames, order_T), order_T.tolist(), n_frames, width, height)


@dataclass(frozen=True)
class Shown:
    """A question as the model sees it, and what was really decoded for it."""

    question: Showing
    prompt: Prompt = field(repr=False)
    frame_order: list[int]
    n_frames: int
    width: int
    height: int


def windows(questions: Sequence[Showing]) -> Iterator[list[Showing]]:
    """The questions of one order after the other, up to WINDOW at a time."""
    for order in dict.fromkeys(question.order for question in questions):
        same = [question for question in questions if question.order == order]
        yield from (same[start : start + WINDOW] for start in range(0, len(same), WINDOW))


def batches(shown: Sequence[Shown], max_new_tokens: int, batch_tokens: int) -> Iterator[list[Shown]]:
    """Groups of like length, the longest first, each padded to its longest within the budget."""
    batch: list[Shown] = []
    for each in sorted(shown, key=lambda each: (-len(each.prompt.ids_P), each.question.key)):
        longest = len(batch[0].prompt.ids_P) if batch else len(each.prompt.ids_P)
        if batch and (len(batch) + 1) * (longest + max_new_tokens) > batch_tokens:
            yield batch
            batch = []
        batch.append(each)
    if batch:
        yield batch


class ServerParams(ChatParams):
    model: str = Field(default="", description="its name on the server; default: what --model says")
    prompt: PromptStyle = "video-r1"


@dataclass(frozen=True)
class ServerEngine:
    """A served model; the stored frames are sent as they are. Its failures become outputs with status `error`."""

    server: ServerParams
    reader: FrameReader
    sampling: Sampling
    seed: int

    def answer(self, questions: Sequence[Showing], done: Container[str], keep: Keep) -> None:
        waiting = [question for question in questions if question.key not in done]
        if waiting:
            asyncio.run(self._ask(waiting, keep))

    async def _ask(self, questions: Sequence[Showing], keep: Keep) -> None:
        waiting = {question.key: question for question in questions}
        async with ChatClient(self.server) as client:
            replies = ask_all(client, map(self._request, questions), self.server.concurrency)
            with progress_bar(total=len(questions), unit="question") as bar:
                async with aclosing(replies):
                    async for batch in replies:
                        keep([self._output(waiting[request.identity], request, reply) for request, reply in batch])
                        bar.update(len(batch))

    def _request(self, question: Showing) -> Request:
        sample, pictures = question.sample, self.reader.pictures(question.sample.sample_id)
        return Request(
            model=self.server.model,
            text=question_text(sample, self.server.prompt),
            pictures=tuple(pictures[index] for index in self._order(question, len(pictures))),
            data_type=sample.data_type,
            payload=self.server.payload,
            sampling=ChatSampling(
                self.sampling.temperature, self.sampling.top_p, self.sampling.max_new_tokens, self.seed
            ),
            identity=question.key,
        )

    def _output(self, question: Showing, request: Request, reply: Reply) -> Output:
        """A refusal is an answer, if an empty one; only a request that failed is an error."""
        width, height = Image.open(BytesIO(request.pictures[0])).size
        return _output(question) | {
            "text": reply.text,
            "status": {"failed": "error", "refused": "ok"}.get(reply.status, reply.status),
            "tokens": reply.completion_tokens,
            "frame_order": self._order(question, len(request.pictures)),
            "n_frames": len(request.pictures),
            "width": width,
            "height": height,
            "detail": reply.detail,
        }

    def _order(self, question: Showing, n_frames: int) -> list[int]:
        return permutation(n_frames, question.order, question.sample.sample_id, self.seed).tolist()


def _from_completion(shown: Shown, completion: Completion) -> Output:
    return _output(shown.question) | {
        "text": completion.text,
        "status": "truncated" if completion.truncated else "ok",
        "tokens": len(completion.ids_C),
        "frame_order": shown.frame_order,
        "n_frames": shown.n_frames,
        "width": shown.width,
        "height": shown.height,
        "detail": "",
    }


def _output(question: Showing) -> Output:
    return {"key": question.key, "sample_id": question.sample.sample_id, "order": question.order}


def _seed(seed: int, key: str) -> int:
    """Each question draws its own random numbers, whatever else is in its batch."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{key}".encode()).digest()[:8], "big") >> 1

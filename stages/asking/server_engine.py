"""The engine that asks a served model."""

import asyncio
from collections.abc import Container, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import cached_property
from io import BytesIO
from itertools import islice

import numpy as np
from PIL import Image
from pydantic import Field

from stages.asking.engines import Keep, Showing
from stages.chat.ask_all import ask_all
from stages.chat.client import ChatClient
from stages.chat.parameters import ChatParams
from stages.chat.reply import Reply
from stages.chat.request import ChatSampling, Dialect, Request
from stages.data.order import permutation
from stages.data.outputs import Output, OutputStatus
from stages.data.prompt import PromptStyle, question_text
from stages.generation.sampling import Sampling
from stages.handshake.asked import Asked
from stages.handshake.first_requests import LOOKED_AT, check_prompt, files_at_hand, shake_hands
from stages.handshake.placeholders import ban_of
from stages.run.progress import progress_bar
from stages.video.frame_store import FrameReader


class ServerParams(ChatParams):
    """The server that answers, and the prompt style of its questions."""

    model: str = Field(default="", description='name of the model on the server; "": the name given as --model')
    prompt: PromptStyle = Field(
        default="video-r1", description="instruction around the question, see stages/data/prompt.py"
    )
    forbid_placeholders: bool = Field(
        default=True,
        description="whether logit_bias forbids the placeholder tokens of media, which this process never draws, where "
        "the model's files are here and extra_body has no logit_bias; false for a server that refuses it",
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
        waiting = {
            key: (showing, number) for showing in showings for number, key in enumerate(showing.keys) if key not in done
        }
        if waiting:
            asyncio.run(self._ask(waiting, keep))

    async def _ask(self, waiting: Mapping[str, tuple[Showing, int]], keep: Keep) -> None:
        """Ask for the waiting answers.

        `waiting` has by an answer's key its showing and its number there.
        """
        async with ChatClient(self.server) as client:
            await self._shake_hands(client, [showing for showing, _ in islice(waiting.values(), LOOKED_AT)])
            requests = (self._request(*each) for each in waiting.values())
            replies = ask_all(client, requests, self.server.concurrency)
            with progress_bar(total=len(waiting), unit="answer") as bar:
                async with aclosing(replies):
                    async for batch in replies:
                        keep([self._output(waiting[request.identity][0], request, reply) for request, reply in batch])
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

    def _request(self, showing: Showing, number: int = 0) -> Request:
        sample, stored = showing.sample, self.reader.pictures(showing.sample.sample_id)
        pictures = tuple(stored[index] for index in self._order(showing, len(stored)))
        return Request(
            model=self.server.model,
            text=question_text(sample, self.server.prompt),
            pictures=pictures,
            data_type=sample.data_type,
            payload="video" if self.server.payload == "video" else "images",
            sampling=ChatSampling(
                self.sampling.temperature, self.sampling.top_p, self.sampling.max_new_tokens, self.seed + number
            ),
            identity=showing.keys[number],
            dialect=self._dialect,
            times=tuple(self.reader.times(sample.sample_id)) if pictures else (),
            frame_times=self.server.frame_times,
        )

    def _output(self, showing: Showing, request: Request, reply: Reply) -> Output:
        width, height = Image.open(BytesIO(request.pictures[0])).size if request.pictures else (0, 0)
        return {
            "key": request.identity,
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

    @cached_property
    def _dialect(self) -> Dialect:
        dialect = Dialect.of(self.server)
        never = ban_of(self.server) if self.server.forbid_placeholders else {}
        return replace(dialect, extra_body={**never, **dialect.extra_body})

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

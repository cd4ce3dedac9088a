"""A client for any server of the OpenAI chat protocol (vLLM, SGLang, the embedded teacher, a hosted one): one request in, one reply out.

Frames travel in one of two payloads:

`images`  every frame is an image part (`data:image/jpeg;base64,…`). Every vision server takes it; vLLM needs
          `--limit-mm-per-prompt '{"image": 16}'` (at least the frames per clip). A Qwen model then sees pictures, not a video.
`video`   the frames of a clip are one video part, vLLM's `data:video/jpeg;base64,FRAME,FRAME,…`. vLLM needs
          `--limit-mm-per-prompt '{"video": 1}'` and `--media-io-kwargs '{"video": {"num_frames": -1}}'`, without which newer versions
          drop every frame after the 32nd; versions before vllm-project/vllm#37301 refuse it for Qwen3-VL. A sample of type image
          still travels as an image part.

In both the bytes are the stored ones (JPEG, or lossless WebP where the frame store has that), never encoded again.
"""

import asyncio
import email.utils
import gc
import hashlib
import io
import json
import logging
import math
import os
import random
import time
from base64 import b64encode
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal

import aiohttp
import httpx2
import openai
import orjson
from PIL import Image
from pydantic import BaseModel, Field, ValidationError
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt

from stages.chat.transport import AioHttpClient
from stages.data.sample import DataType
from stages.run.errors import EndpointError, UserError
from stages.run.params import Params

log = logging.getLogger(__name__)

Payload = Literal["images", "video"]
Status = Literal["ok", "truncated", "refused", "failed"]

_LOST = (openai.APIConnectionError, TimeoutError, ValidationError)  # sent, and came to nothing
_ERRORS = (openai.OpenAIError, TimeoutError, ValidationError)
_ABOUT = ("Lang", "Package-Version", "OS", "Arch", "Runtime", "Runtime-Version", "Async", "Retry-Count")
_ACCOUNT = ("OpenAI-Organization", "OpenAI-Project")
# What the client tells of this machine and, from the environment, of somebody's account: no server needs it.
_LEFT_OUT = {name: openai.Omit() for name in (*(f"X-Stainless-{name}" for name in _ABOUT), *_ACCOUNT)}
# What stands at its default is named too: the client copies unnamed defaults deeply, and draws a key that it does not send, per request.
_OPTIONS: openai.RequestOptions = {
    "headers": _LEFT_OUT,
    "max_retries": 0,
    "timeout": None,
    "security": {"bearer_auth": True},
    "idempotency_key": "",
}
LONGEST_BACKOFF = 30.0  # seconds between attempts when the server does not say how long


class ChatParams(Params):
    """Where and how to ask. The base of the parameters of every stage that asks a server."""

    base_url: str = Field(description="address of the server, with its /v1")
    model: str = Field(description="name of the model on that server")
    api_key_env: str | None = Field(
        default=None, description="environment variable that holds the key; null for servers without one"
    )
    payload: Payload = Field(default="images", description="how frames travel, see stages/chat/client.py")
    concurrency: int = Field(default=16, ge=1, description="requests in flight")
    requests_per_minute: float | None = Field(default=None, gt=0)
    tokens_per_minute: float | None = Field(
        default=None, gt=0, description="prompt tokens (estimated) + max_tokens of what is sent"
    )
    timeout_s: float = Field(default=120, gt=0, description="whole request, from connecting to the last byte")
    retries: int = Field(
        default=5, ge=0, description="further attempts after a time-out, a broken connection, 429 or 5xx"
    )


@dataclass(frozen=True)
class ChatSampling:
    temperature: float
    top_p: float
    max_tokens: int
    seed: int | None = None


@dataclass(frozen=True)
class Request:
    """One user turn: the frames of one clip or image, in order, then the text.

    `identity` is whatever else decides the answer though it is not sent (the embedded teacher's settings and code).
    """

    model: str
    text: str
    pictures: tuple[bytes, ...]
    data_type: DataType
    payload: Payload
    sampling: ChatSampling
    identity: str = ""

    @cached_property
    def key(self) -> str:
        """SHA-256 over everything that decides the answer, the bytes of every frame included."""
        parts = [self.model, self.text, self.data_type, self.payload, vars(self.sampling), self.identity]
        frames = [hashlib.sha256(picture).hexdigest() for picture in self.pictures]
        return hashlib.sha256(json.dumps([*parts, frames], sort_keys=True).encode()).hexdigest()

    @cached_property
    def prompt_estimate(self) -> int:
        """About how many tokens the prompt has: one per 2 bytes of text and one per 28×28 pixels of each frame, rounded up."""
        width, height = Image.open(io.BytesIO(self.pictures[0])).size if self.pictures else (0, 0)
        return (
            32
            + len(self.text.encode()) // 2
            + len(self.pictures) * (math.ceil(width / 28) * math.ceil(height / 28) + 2)
        )

    def body(self) -> dict[str, Any]:
        """The JSON body to post."""
        content = [*frame_parts(self.pictures, self.data_type, self.payload), {"type": "text", "text": self.text}]
        sampling = {name: value for name, value in vars(self.sampling).items() if value is not None}
        return {"model": self.model, "messages": [{"role": "user", "content": content}], **sampling}


@dataclass(frozen=True)
class Reply:
    """How a request ended. Token counts are the server's own, 0 when it gave none; `detail` says why a reply is not ok.

    ok: a whole answer. truncated: cut off at max_tokens. refused: by the server's content filter or the model. failed: no answer.
    """

    status: Status
    text: str = ""
    finish_reason: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    detail: str = ""


def frame_parts(pictures: Sequence[bytes], data_type: DataType, payload: Payload) -> list[dict[str, Any]]:
    """The content parts that carry the frames."""
    frames = [b64encode(picture).decode() for picture in pictures]
    if payload == "video" and data_type == "video":
        return [{"type": "video_url", "video_url": {"url": f"data:video/jpeg;base64,{','.join(frames)}"}}]
    types = ["jpeg" if picture.startswith(b"\xff\xd8") else "webp" for picture in pictures]
    urls = [f"data:image/{kind};base64,{frame}" for kind, frame in zip(types, frames, strict=True)]
    return [{"type": "image_url", "image_url": {"url": url}} for url in urls]


class ChatClient:
    """Asks one server, politely: limits on requests and tokens per minute, one retry loop, one deadline per attempt.

    Use as `async with ChatClient(params) as client`. UserError when the server is not there, or refuses the key, the address or the model:
    no other request would fare better. The key is read from the environment and never leaves the request's header.
    """

    def __init__(self, params: ChatParams) -> None:
        self._params = params
        self._key = _read_key(params.api_key_env)
        self._requests = Pace(params.requests_per_minute)
        self._tokens = Pace(params.tokens_per_minute)
        self._answered = (
            False  # has the server ever said anything? Then a refused connection is a restart worth waiting for
        )
        self._openai = openai.AsyncOpenAI(
            base_url=params.base_url,
            api_key=self._key or "none",
            max_retries=0,
            http_client=AioHttpClient(),
        )
        self._url = f"{self._openai.base_url}chat/completions"

    async def __aenter__(self) -> "ChatClient":
        gc.freeze()  # or the collector walks every loaded module now and then, and nothing is sent meanwhile
        return self

    async def __aexit__(self, *_: object) -> None:
        gc.unfreeze()
        await self._openai.close()

    async def request(self, request: Request, again: Callable[[Request], bool] = lambda request: True) -> Reply:
        """Ask until there is an answer or the retries are used up.

        `again` is told of each attempt that the server may have billed although nothing usable arrived, and allows another one.
        """
        attempt = partial(self._attempt, request, orjson.dumps(request.body()))

        def may_go_on(error: BaseException) -> bool:
            return self._is_passing(error) and (
                not isinstance(error, _LOST) or _is_unreachable(error) or again(request)
            )

        try:
            try:
                return await attempt()
            except _ERRORS as error:
                return await self._go_on(error, attempt, may_go_on)
        except _ERRORS as error:
            return self._given_up(error)

    async def _go_on(
        self, first: Exception, attempt: Callable[[], Awaitable[Reply]], may_go_on: Callable[[BaseException], bool]
    ) -> Reply:
        """Retry after the first attempt's error. Most requests need none, and tenacity's loop takes a seventh of a request's CPU time."""
        errors = [first]

        async def next_attempt() -> Reply:
            if errors:
                raise errors.pop()
            return await attempt()

        stop, retry = stop_after_attempt(self._params.retries + 1), retry_if_exception(may_go_on)
        return await AsyncRetrying(stop=stop, retry=retry, wait=_seconds_to_wait, reraise=True)(next_attempt)

    async def _attempt(self, request: Request, body: bytes) -> Reply:
        await self._requests.wait(1)
        await self._tokens.wait(request.prompt_estimate + request.sampling.max_tokens)
        # The whole attempt has one deadline: a server that drips a byte now and then never trips a read time-out. The typed
        # `chat.completions.create` is passed by: it takes several times the CPU time for a request of 8 frames.
        async with asyncio.timeout(self._params.timeout_s):
            response = await self._openai.post(self._url, content=body, cast_to=httpx2.Response, options=_OPTIONS)
        self._answered = True
        return _read_reply(self._without_key(response.content.decode(errors="replace")))

    def _is_passing(self, error: BaseException) -> bool:
        """Whether the same request may succeed later."""
        if isinstance(error, openai.APIStatusError):
            self._answered = True
            return error.status_code in (408, 409, 425, 429) or error.status_code >= 500
        if _is_unreachable(error):
            return self._answered
        return isinstance(error, openai.APIConnectionError | TimeoutError | ValidationError)

    def _given_up(self, error: Exception) -> Reply:
        where, detail = self._params.base_url, self._without_key(_describe(error))
        if isinstance(error, openai.APIStatusError) and "content_filter" in error.response.text:
            return Reply("refused", detail=detail)
        if _is_unreachable(error):
            raise EndpointError(
                f"no server answers at {where} ({detail}); start it or mend base_url and run the same command again"
            ) from None
        if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
            key = self._params.api_key_env
            raise UserError(
                f"{where} does not accept the key in {key or 'api_key_env (which is null)'}: {detail}"
            ) from None
        if isinstance(error, openai.APIStatusError) and error.response.is_redirect:
            raise UserError(
                f"{where} sends elsewhere, to {error.response.headers.get('location')}; write that address into base_url"
            )
        if isinstance(error, openai.NotFoundError):
            raise UserError(
                f"{where} does not know the model '{self._params.model}' or the address: {detail}"
            ) from None
        return Reply("failed", detail=detail)

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "[key]") if self._key else text


class Pace:
    """Spreads a limit per minute evenly, without bursts, so that no window of a minute holds more. None is no limit."""

    def __init__(self, per_minute: float | None) -> None:
        self._seconds_each = 60 / per_minute if per_minute else 0.0
        self._next = 0.0

    async def wait(self, amount: float) -> None:
        """Wait for this caller's turn, in order of arrival; `amount` is what it takes from the limit."""
        now = time.monotonic()
        start = max(now, self._next)
        self._next = start + amount * self._seconds_each
        if start > now:
            await asyncio.sleep(start - now)


async def ask_all(
    client: ChatClient,
    requests: Iterable[Request],
    concurrency: int,
    admit: Callable[[Request], bool] = lambda request: True,
    again: Callable[[Request], bool] = lambda request: True,
) -> AsyncGenerator[list[tuple[Request, Reply]]]:
    """Ask all, `concurrency` at a time, and give the answers in batches as they come in.

    No more than a quarter over `concurrency` are drawn from `requests` and under way, the batch just given included: that bounds memory
    and what a kill can lose. A request that `admit` turns away waits and is offered again after every batch; when nothing is in flight
    and it is still turned away, that is the end. `again` is what `ChatClient.request` takes.
    """
    source, workers, running, outstanding = iter(requests), set[asyncio.Task[None]](), 0, 0
    most = concurrency + max(1, concurrency // 4)
    answers: asyncio.Queue[tuple[Request, Reply] | BaseException] = asyncio.Queue()
    waiting = next(source, None)

    def draw() -> Request | None:
        nonlocal waiting, outstanding
        if waiting is None or outstanding == most or not admit(waiting):
            return None
        drawn, waiting = waiting, next(source, None)
        outstanding += 1
        return drawn

    async def work(request: Request | None) -> None:
        # The next question leaves at once. Were it sent by whoever takes the answers, all that came together would leave together again.
        nonlocal running
        try:
            while request is not None:
                answers.put_nowait((request, await client.request(request, again)))
                request = draw()
        finally:
            running -= 1

    def end(worker: asyncio.Task[None]) -> None:
        workers.discard(worker)
        if not worker.cancelled() and (error := worker.exception()):
            answers.put_nowait(error)

    try:
        while True:
            while running < concurrency and (request := draw()):
                running += 1
                workers.add(worker := asyncio.create_task(work(request)))
                worker.add_done_callback(end)
            if not outstanding:
                return
            done = [await answers.get(), *(answers.get_nowait() for _ in range(answers.qsize()))]
            errors = [each for each in done if isinstance(each, BaseException)]
            batch = [each for each in done if not isinstance(each, BaseException)]
            yield batch  # what was paid for counts before the run ends
            outstanding -= len(batch)
            if errors:
                raise errors[0]
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(
            *workers, return_exceptions=True
        )  # several may have failed at once; the first one's error was raised


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Usage(BaseModel):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Completion(BaseModel):
    """What is read of a chat completion."""

    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage | None = None


def _read_reply(text: str) -> Reply:
    """A server's body as a reply; ValidationError when it is not JSON or holds no choice."""
    completion = _Completion.model_validate_json(text)
    choice, usage = completion.choices[0], completion.usage or _Usage()
    status: Status = "ok"
    if choice.finish_reason == "content_filter" or choice.message.refusal:
        status = "refused"
    elif choice.finish_reason == "length":
        status = "truncated"
    return Reply(
        status=status,
        text=choice.message.content or "",
        finish_reason=choice.finish_reason or "",
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        detail={"ok": "", "refused": choice.message.refusal or "content_filter", "truncated": "reached max_tokens"}[
            status
        ],
    )


def _seconds_to_wait(state: RetryCallState) -> float:
    """The server's Retry-After and up to a tenth more, or full-jitter exponential backoff."""
    error = state.outcome.exception() if state.outcome else None
    told = _retry_after(error.response.headers.get("retry-after")) if isinstance(error, openai.APIStatusError) else None
    if told is None:
        return random.uniform(0, min(LONGEST_BACKOFF, 2.0**state.attempt_number))
    if told > LONGEST_BACKOFF:
        log.warning("the server asks for a pause of %.0f s", told)
    return told * random.uniform(1, 1.1)


def _retry_after(header: str | None) -> float | None:
    """Seconds from a Retry-After header, which holds seconds or a date; None when it is absent or neither."""
    if header is None:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        return None


def _is_unreachable(error: BaseException) -> bool:
    """Whether no connection came about at all, as opposed to one that broke or was too slow."""
    origin = error.__cause__.__cause__ if isinstance(error, openai.APIConnectionError) and error.__cause__ else None
    return isinstance(origin, aiohttp.ClientConnectorError | aiohttp.InvalidURL)


def _describe(error: Exception) -> str:
    if isinstance(error, openai.APIStatusError):
        detail = f"HTTP {error.status_code}: {error.response.text}"  # openai's message keeps only some servers' words
    elif isinstance(error, ValidationError):
        detail = f"malformed response: {error.errors()[0]['msg']}"
    elif isinstance(error, TimeoutError):
        detail = "time-out"
    else:
        detail = f"connection error: {error.__cause__ or error}"
    return " ".join(detail.split())[:300]


def _read_key(variable: str | None) -> str | None:
    if variable is None:
        return None
    key = os.environ.get(variable)
    if not key:
        raise UserError(
            f"the environment variable {variable}, named by api_key_env, is not set; export it or set api_key_env to null"
        )
    return key

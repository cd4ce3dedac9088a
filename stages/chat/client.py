"""A client for any server of the OpenAI chat protocol.

vLLM, SGLang, hosted endpoints and the embedded teacher speak it.
"""

import asyncio
import dataclasses
import gc
from collections.abc import Awaitable, Callable
from functools import partial

import httpx2
import openai
import orjson
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt

from stages.chat import failures
from stages.chat.address import chat_url, read_key, ssl_context
from stages.chat.failures import ERRORS, LOST
from stages.chat.pace import Pace
from stages.chat.parameters import EndpointParams
from stages.chat.pauses import seconds_to_wait
from stages.chat.reply import Reply, read_reply
from stages.chat.request import Request
from stages.chat.transport import AioHttpClient
from stages.run.errors import EndpointError, UserError

_ABOUT = ("Lang", "Package-Version", "OS", "Arch", "Runtime", "Runtime-Version", "Async", "Retry-Count")
_ACCOUNT = ("OpenAI-Organization", "OpenAI-Project")
# The headers that tell of this machine or, from the environment, of somebody's account: no server needs them.
_LEFT_OUT = {name: openai.Omit() for name in (*(f"X-Stainless-{name}" for name in _ABOUT), *_ACCOUNT)}
# Options at their default are named too. For each unnamed one the openai client would make a deep copy per request,
# and it would draw an idempotency key that it does not send.
_OPTIONS: openai.RequestOptions = {
    "headers": _LEFT_OUT,
    "max_retries": 0,
    "timeout": None,
    "security": {"bearer_auth": True},
    "idempotency_key": "",
}


class ChatClient:
    """Asks one server, with limits per minute, retries and deadlines.

    Use as `async with ChatClient(params) as client`. UserError when the server is not there, or when it refuses the
    key, the address or the model: every other request would fail in the same way. The key is read from the environment
    and stays in the request's header.
    """

    def __init__(self, params: EndpointParams) -> None:
        self._params = params
        self._url = chat_url(params.base_url)
        self._key = read_key(params.api_key_env)
        self._requests = Pace(params.requests_per_minute)
        self._tokens = Pace(params.tokens_per_minute)
        self._has_answered = (
            False  # after the server's first word, a refused connection is a restart: worth waiting for
        )
        self._openai = openai.AsyncOpenAI(
            base_url=self._url,
            api_key=self._key or "none",
            max_retries=0,
            http_client=AioHttpClient(ssl_context(params.ca_file)),
        )

    async def __aenter__(self) -> "ChatClient":
        # Without this the garbage collector walks every loaded module now and then, and meanwhile nothing is sent.
        gc.freeze()
        return self

    async def __aexit__(self, *_: object) -> None:
        gc.unfreeze()
        await self._openai.close()

    async def request(self, request: Request, admit_again: Callable[[Request], bool] = lambda request: True) -> Reply:
        """Ask until there is an answer or the retries are used up.

        `admit_again` is called after each attempt that brought nothing usable although the server may have billed it;
        it says whether another attempt is allowed.
        """
        attempt = partial(self._attempt, request, orjson.dumps(request.body()))

        def may_go_on(error: BaseException) -> bool:
            if not self._is_passing(error):
                return False
            may_be_billed = isinstance(error, LOST) and not failures.is_unreachable(error)
            return not may_be_billed or admit_again(request)

        try:
            try:
                return await attempt()
            except ERRORS as error:
                return await self._go_on(error, attempt, may_go_on)
        except ERRORS as error:
            return self._give_up(error, request)

    async def _go_on(
        self, first: Exception, attempt: Callable[[], Awaitable[Reply]], may_go_on: Callable[[BaseException], bool]
    ) -> Reply:
        """Retry after the first attempt's error.

        The first attempt stands outside: most requests need no other, and tenacity's loop takes a seventh of a
        request's CPU time.
        """
        errors = [first]

        async def next_attempt() -> Reply:
            if errors:
                raise errors.pop()
            return await attempt()

        stop, retry = stop_after_attempt(self._params.retries + 1), retry_if_exception(may_go_on)
        return await AsyncRetrying(stop=stop, retry=retry, wait=seconds_to_wait, reraise=True)(next_attempt)

    async def _attempt(self, request: Request, body: bytes) -> Reply:
        await self._requests.wait(1)
        await self._tokens.wait(request.prompt_estimate + request.sampling.max_tokens)
        # The whole attempt has one deadline, because a server that sends a byte now and then trips no read time-out.
        # The typed `chat.completions.create` takes several times the CPU time for a request of 8 frames.
        async with asyncio.timeout(self._params.timeout_s):
            response = await self._openai.post(self._url, content=body, cast_to=httpx2.Response, options=_OPTIONS)
        self._has_answered = True
        return self._without_key(read_reply(response.content))

    def _is_passing(self, error: BaseException) -> bool:
        """Whether the same request may succeed later."""
        if isinstance(error, openai.APIStatusError):
            self._has_answered = True
        if failures.is_tls_error(error):
            return False
        if failures.is_unreachable(error):
            return self._has_answered
        return failures.is_passing(error)

    def _give_up(self, error: Exception, request: Request) -> Reply:
        """The reply of a request that failed for good.

        UserError where every other request would fail in the same way.
        """
        where, detail = self._params.base_url, failures.in_one_line(failures.describe(error), self._key)
        if failures.is_tls_error(error):
            raise UserError(failures.tls_advice(where, detail)) from None
        if failures.is_unreachable(error):
            raise EndpointError(
                f"no server answers at {where} ({detail}); start it or correct base_url, and run the same command again"
            ) from None
        if isinstance(error, openai.APIStatusError):
            return self._give_up_status(error, request, detail)
        return Reply("failed", detail=detail)

    def _give_up_status(self, error: openai.APIStatusError, request: Request, detail: str) -> Reply:
        where = self._params.base_url
        if failures.is_filtered(error):
            return Reply("refused", detail=detail)
        if error.status_code in (401, 403):
            key = self._params.api_key_env or "api_key_env (which is null)"
            raise UserError(f"{where} does not accept the key in {key}: {detail}") from None
        if failures.is_out_of_credit(error):
            raise UserError(
                f"{where} says that the account has no credit left: {detail}; add some and run again: answers are kept"
            ) from None
        if error.response.is_redirect:
            target = failures.in_one_line(error.response.headers.get("location", "?"), self._key)
            raise UserError(
                f"{where} redirects to {target}; write its part before /chat/completions into base_url"
            ) from None
        if error.status_code in (404, 405):
            raise UserError(
                f"{where} does not know the model '{self._params.model}' or the address: {detail}"
            ) from None
        if advice := failures.advice(error, request):
            raise UserError(f"{where} does not take a field of the request: {detail}; {advice}") from None
        return Reply("failed", detail=detail)

    def _without_key(self, reply: Reply) -> Reply:
        """The reply without the key, which a server may repeat."""
        if reply.others:
            reply = dataclasses.replace(reply, others=tuple(map(self._without_key, reply.others)))
        if not self._key or not any(self._key in text for text in (reply.text, reply.reasoning, reply.detail)):
            return reply
        return dataclasses.replace(
            reply,
            text=failures.redacted(reply.text, self._key),
            reasoning=failures.redacted(reply.reasoning, self._key),
            detail=failures.redacted(reply.detail, self._key),
        )

"""A client for any server of the OpenAI chat protocol.

vLLM, SGLang, hosted endpoints and the embedded teacher speak it.
"""

import asyncio
import gc
import os
from collections.abc import Awaitable, Callable
from functools import partial

import httpx2
import openai
import orjson
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt

from stages.chat.failures import ERRORS, LOST, describe, is_passing_status, is_unreachable, seconds_to_wait
from stages.chat.pace import Pace
from stages.chat.parameters import ChatParams
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

    def __init__(self, params: ChatParams) -> None:
        self._params = params
        self._key = _read_key(params.api_key_env)
        self._requests = Pace(params.requests_per_minute)
        self._tokens = Pace(params.tokens_per_minute)
        self._has_answered = (
            False  # after the server's first word, a refused connection is a restart: worth waiting for
        )
        self._openai = openai.AsyncOpenAI(
            base_url=params.base_url,
            api_key=self._key or "none",
            max_retries=0,
            http_client=AioHttpClient(),
        )
        self._url = f"{self._openai.base_url}chat/completions"

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
            may_be_billed = isinstance(error, LOST) and not is_unreachable(error)
            return not may_be_billed or admit_again(request)

        try:
            try:
                return await attempt()
            except ERRORS as error:
                return await self._go_on(error, attempt, may_go_on)
        except ERRORS as error:
            return self._give_up(error)

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
        return read_reply(self._without_key(response.content.decode(errors="replace")))

    def _is_passing(self, error: BaseException) -> bool:
        """Whether the same request may succeed later."""
        if isinstance(error, openai.APIStatusError):
            self._has_answered = True
            return is_passing_status(error)
        if is_unreachable(error):
            return self._has_answered
        return isinstance(error, LOST)

    def _give_up(self, error: Exception) -> Reply:
        """The reply of a request that failed for good.

        UserError where every other request would fail in the same way.
        """
        where, detail = self._params.base_url, self._without_key(describe(error))
        if isinstance(error, openai.APIStatusError) and "content_filter" in error.response.text:
            return Reply("refused", detail=detail)
        if is_unreachable(error):
            raise EndpointError(
                f"no server answers at {where} ({detail}); start it or correct base_url, and run the same command again"
            ) from None
        if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
            key = self._params.api_key_env or "api_key_env (which is null)"
            raise UserError(f"{where} does not accept the key in {key}: {detail}") from None
        if isinstance(error, openai.APIStatusError) and error.response.is_redirect:
            target = error.response.headers.get("location")
            raise UserError(f"{where} redirects to {target}; write that address into base_url") from None
        if isinstance(error, openai.NotFoundError):
            raise UserError(
                f"{where} does not know the model '{self._params.model}' or the address: {detail}"
            ) from None
        return Reply("failed", detail=detail)

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "[key]") if self._key else text


def _read_key(variable: str | None) -> str | None:
    if variable is None:
        return None
    key = os.environ.get(variable)
    if not key:
        raise UserError(
            f"the environment variable {variable}, named by api_key_env, is not set; "
            "export it or set api_key_env to null"
        )
    return key

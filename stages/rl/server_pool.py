"""Several servers that share the questions of a rollout."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from pydantic import Field

from stages.chat.parameters import Authorities, EndpointParams, KeyVariable
from stages.chat.reply import Reply
from stages.chat.request import Request
from stages.rl.adapter_server import Adapter, AdapterServer
from stages.run.errors import EndpointError, UserError
from stages.run.params import Params

log = logging.getLogger(__name__)

ATTEMPTS = 5  # on one question, over all servers
PAUSE_S = 2.0  # before a server that failed is asked again


class RolloutServers(Params):
    """The vLLM servers that draw responses, and how they are asked."""

    servers: tuple[str, ...] = Field(
        min_length=1, description="addresses of vLLM servers of the model that is trained, such as http://host:8000/v1"
    )
    folder: str | None = Field(
        default=None,
        description="where each step's adapter is written; the servers must see it under the same path; null: in the "
        "stage's work folder, for servers on this machine",
    )
    api_key_env: KeyVariable = None
    ca_file: Authorities = None
    concurrency: int = Field(
        default=16, ge=1, description="prompts that each process has in flight on each server, with all their responses"
    )
    timeout_s: float = Field(default=600, gt=0, description="seconds for all responses to one prompt")
    wait_s: float = Field(
        default=600, ge=0, description="seconds that a step waits for a server to come back when none is left"
    )

    def asking(self, url: str) -> EndpointParams:
        """How one of the servers is asked."""
        return EndpointParams(
            base_url=url,
            model="the adapter of this step",  # for messages
            api_key_env=self.api_key_env,
            ca_file=self.ca_file,
            timeout_s=self.timeout_s,
            retries=0,
        )


@asynccontextmanager
async def opened(params: RolloutServers) -> AsyncIterator[list[AdapterServer]]:
    """The servers, with connections that are closed at the end."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(AdapterServer(params.asking(url))) for url in params.servers]


async def load_everywhere(params: RolloutServers, adapter: Adapter, former: str | None) -> list[UserError]:
    """Load an adapter on all servers and forget the former one.

    The errors are those of the servers that did not do it.
    """

    async def load(server: AdapterServer) -> None:
        await server.load(adapter)
        if former not in (None, adapter.name):
            await server.unload(str(former))

    async with opened(params) as servers:
        results = await asyncio.gather(*map(load, servers), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, UserError):
            raise result
    return [result for result in results if isinstance(result, UserError)]


async def draw(params: RolloutServers, adapter: Adapter, requests: Sequence[Request]) -> list[Reply]:
    """The replies to all requests, each from the first free server.

    A question whose server fails is asked again, by whichever server is free then. The server gets no other question
    before it answers again and has the adapter. UserError when a question failed ATTEMPTS times, and EndpointError
    when no server was there for `wait_s`.
    """
    async with opened(params) as servers:
        return await _Round(params, servers, adapter, requests).replies()


class _Round:
    """The questions of one rollout."""

    def __init__(
        self,
        params: RolloutServers,
        servers: Sequence[AdapterServer],
        adapter: Adapter,
        requests: Sequence[Request],
    ) -> None:
        self._params, self._servers, self._adapter, self._requests = params, servers, adapter, requests
        self._waiting: asyncio.Queue[int] = asyncio.Queue()
        self._replies: dict[int, Reply] = {}
        self._failures: Counter[int] = Counter()
        self._ready: set[AdapterServer] = set()
        self._lost: dict[AdapterServer, float] = {}  # since when they have not been ready
        self._locks = {server: asyncio.Lock() for server in servers}

    async def replies(self) -> list[Reply]:
        """All replies, in the order of the requests."""
        for number in range(len(self._requests)):
            self._waiting.put_nowait(number)
        each = range(min(self._params.concurrency, len(self._requests)))
        workers = [asyncio.create_task(self._work(server)) for server in self._servers for _ in each]
        answered = asyncio.create_task(self._waiting.join())
        try:
            await asyncio.wait([answered, *workers], return_when=asyncio.FIRST_COMPLETED)
            for worker in workers:
                if worker.done():
                    worker.result()  # a worker ends only by an error
        finally:
            for task in (answered, *workers):
                task.cancel()
            await asyncio.gather(answered, *workers, return_exceptions=True)
        return [self._replies[number] for number in range(len(self._requests))]

    async def _work(self, server: AdapterServer) -> None:
        """Answer one question after the other."""
        while True:
            await self._make_ready(server)
            number = await self._waiting.get()
            reply = await server.ask(self._requests[number])
            if reply.status in ("ok", "truncated"):
                self._replies[number] = reply
            else:
                self._fail(server, number, reply)
            self._waiting.task_done()
            if number not in self._replies:
                await asyncio.sleep(PAUSE_S)

    async def _make_ready(self, server: AdapterServer) -> None:
        """Wait until the server answers and has the adapter."""
        async with self._locks[server]:
            while server not in self._ready:
                try:
                    await server.load(self._adapter)
                except UserError as error:
                    self._lose(server, error)
                    await asyncio.sleep(PAUSE_S)
                else:
                    self._ready.add(server)
                    self._lost.pop(server, None)

    def _fail(self, server: AdapterServer, number: int, reply: Reply) -> None:
        """Put a question back that its server did not answer."""
        request = self._requests[number]
        self._failures[number] += 1
        if self._failures[number] == ATTEMPTS:
            raise UserError(
                f"{request.identity}: no rollout server gave its responses in {ATTEMPTS} attempts; "
                f"the last one, {server.url}, says: {reply.detail}"
            )
        if server in self._ready:
            log.warning("rollout server %s failed: %s; its questions are asked again", server.url, reply.detail)
        self._ready.discard(server)
        self._waiting.put_nowait(number)

    def _lose(self, server: AdapterServer, error: UserError) -> None:
        """Note that a server is not ready.

        EndpointError when no server was ready for too long.
        """
        now = time.monotonic()
        if server not in self._lost:
            log.warning("a rollout server is left out until it is back: %s", error)
        self._lost.setdefault(server, now)
        none_left = len(self._lost) == len(self._servers)
        if none_left and now - max(self._lost.values()) >= self._params.wait_s:
            raise EndpointError(f"no rollout server was there for {self._params.wait_s:g} s: {error}")

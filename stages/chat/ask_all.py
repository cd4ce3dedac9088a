"""Many requests to one server, so many at a time."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable

from stages.chat.client import ChatClient
from stages.chat.reply import Reply
from stages.chat.request import Request


def ask_all(
    client: ChatClient,
    requests: Iterable[Request],
    concurrency: int,
    admit: Callable[[Request], bool] = lambda request: True,
    admit_again: Callable[[Request], bool] = lambda request: True,
) -> AsyncGenerator[list[tuple[Request, Reply]]]:
    """Ask all, `concurrency` at a time; gives the answers in batches.

    At most a quarter over `concurrency` are drawn from `requests` and under way, the batch just given included: that
    bounds memory and what a kill can lose. A request that `admit` turns away is offered again after every batch; when
    it is turned away and nothing is in flight, that is the end. `admit_again` is what `ChatClient.request` takes.
    """
    return _Pool(client, requests, concurrency, admit, admit_again).batches()


class _Pool:
    """Workers that each send one request after the other."""

    def __init__(
        self,
        client: ChatClient,
        requests: Iterable[Request],
        concurrency: int,
        admit: Callable[[Request], bool],
        admit_again: Callable[[Request], bool],
    ) -> None:
        self._client, self._admit, self._admit_again = client, admit, admit_again
        self._source = iter(requests)
        self._waiting = next(self._source, None)
        self._concurrency = concurrency
        self._most_outstanding = concurrency + max(1, concurrency // 4)
        self._running = 0  # workers that have a request
        self._outstanding = 0  # requests that were drawn and whose batch is not finished
        self._workers: set[asyncio.Task[None]] = set()
        self._answers: asyncio.Queue[tuple[Request, Reply] | BaseException] = asyncio.Queue()

    async def batches(self) -> AsyncGenerator[list[tuple[Request, Reply]]]:
        """All answers, those that came together in one batch."""
        try:
            while True:
                self._start_workers()
                if not self._outstanding:
                    return
                done = [await self._answers.get()]
                done += [self._answers.get_nowait() for _ in range(self._answers.qsize())]
                errors = [each for each in done if isinstance(each, BaseException)]
                batch = [each for each in done if not isinstance(each, BaseException)]
                yield batch  # what was paid for counts before the run ends
                self._outstanding -= len(batch)
                if errors:
                    raise errors[0]
        finally:
            for worker in self._workers:
                worker.cancel()
            # Several workers may have failed at once: the first one's error was raised, the others are dropped here.
            await asyncio.gather(*self._workers, return_exceptions=True)

    def _start_workers(self) -> None:
        while self._running < self._concurrency and (request := self._draw()):
            self._running += 1
            worker = asyncio.create_task(self._work(request))
            self._workers.add(worker)
            worker.add_done_callback(self._end)

    def _draw(self) -> Request | None:
        """The next request.

        None when there is none or it has to wait.
        """
        request = self._waiting
        if request is None or self._outstanding == self._most_outstanding or not self._admit(request):
            return None
        self._waiting = next(self._source, None)
        self._outstanding += 1
        return request

    async def _work(self, request: Request | None) -> None:
        # The worker sends its next request at once. If whoever takes the answers sent it, all requests whose answers
        # came together would leave together again.
        try:
            while request is not None:
                self._answers.put_nowait((request, await self._client.request(request, self._admit_again)))
                request = self._draw()
        finally:
            self._running -= 1

    def _end(self, worker: asyncio.Task[None]) -> None:
        self._workers.discard(worker)
        if not worker.cancelled() and (error := worker.exception()):
            self._answers.put_nowait(error)

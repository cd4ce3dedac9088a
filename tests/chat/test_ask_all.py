"""Many requests at a time."""

import asyncio
from collections.abc import Iterator

from stages.chat.ask_all import ask_all
from stages.chat.client import ChatClient
from stages.chat.request import Request
from tests.chat.asking import params, request
from tests.fault_server import fault_server


def test_concurrency_is_reached_and_never_exceeded_and_requests_are_drawn_lazily() -> None:
    drawn = 0

    def requests() -> Iterator[Request]:
        nonlocal drawn
        for number in range(40):
            drawn += 1
            yield request(f"question {number}")

    async def all_of_it(url: str) -> list[str]:
        texts, taken = [], 0
        async with ChatClient(params(url, concurrency=8)) as client:
            async for batch in ask_all(client, requests(), 8):
                taken += len(batch)
                assert drawn <= taken + 10 + 1
                texts += [asked.text for asked, reply in batch if reply.status == "ok"]
        return texts

    with fault_server(latency_s=0.3) as server:
        texts = asyncio.run(all_of_it(server.url))
        assert max(call.in_flight for call in server.calls) == 8
    assert sorted(texts) == sorted(f"question {number}" for number in range(40))


def test_a_request_that_is_not_admitted_waits_and_ends_the_run_when_nothing_is_in_flight() -> None:
    admitted: list[str] = []

    def admit(asked: Request) -> bool:
        if len(admitted) == 5:
            return False
        admitted.append(asked.text)
        return True

    async def some_of_it(url: str) -> list[str]:
        async with ChatClient(params(url)) as client:
            batches = ask_all(client, (request(str(number)) for number in range(20)), 4, admit)
            return [asked.text async for batch in batches for asked, _ in batch]

    with fault_server() as server:
        assert sorted(asyncio.run(some_of_it(server.url))) == ["0", "1", "2", "3", "4"]
        assert len(server.calls) == 5

"""Limits per minute."""

import asyncio
import time

import pytest

from stages.chat.client import ChatClient
from stages.chat.pace import Pace
from tests.chat.asking import params, request
from tests.fault_server import fault_server


@pytest.mark.parametrize("limit", [{"requests_per_minute": 1200}, {"tokens_per_minute": 1200 * (32 + 512)}])
def test_limits_per_minute_are_never_exceeded_on_the_servers_side(limit: dict[str, int]) -> None:
    with fault_server() as server:

        async def twelve() -> None:
            async with ChatClient(params(server.url, **limit)) as client:  # one every 50 ms
                await asyncio.gather(*(client.request(request(str(number))) for number in range(12)))

        begin = time.monotonic()
        asyncio.run(twelve())
        started = sorted(call.started for call in server.calls)
    # Request number n is sent, and arrives, after n shares of the minute at the earliest, however late any of them is.
    assert [start >= begin + number * 0.05 for number, start in enumerate(started)] == [True] * 12


def test_a_pace_spreads_amounts_over_the_minute() -> None:
    async def starts() -> list[float]:
        pace, begin = Pace(60_000), time.monotonic()
        times = []
        for amount in (100, 50, 0):  # 60,000 a minute is one each millisecond
            await pace.wait(amount)
            times.append(time.monotonic() - begin)
        return times

    _, second, third = asyncio.run(starts())
    assert second >= 0.099  # each waits for the amounts before it, however late those were served
    assert third >= 0.149

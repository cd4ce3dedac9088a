"""The pace of requests: a limit per minute, kept without bursts."""

import asyncio
import time


class Pace:
    """Spreads a limit per minute evenly; None is no limit.

    No window of a minute holds more than the limit.
    """

    def __init__(self, per_minute: float | None) -> None:
        self._seconds_each = 60 / per_minute if per_minute else 0.0
        self._next = 0.0

    async def wait(self, amount: float) -> None:
        """Wait for this caller's turn, in order of arrival.

        `amount` is its part of the limit.
        """
        now = time.monotonic()
        start = max(now, self._next)
        self._next = start + amount * self._seconds_each
        if start > now:
            await asyncio.sleep(start - now)

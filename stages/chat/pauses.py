"""How long to wait before the next attempt."""

import email.utils
import logging
import math
import random
import time
from collections.abc import Mapping

import openai
from tenacity import RetryCallState

log = logging.getLogger(__name__)

LONGEST_BACKOFF = 30.0  # seconds between attempts when the server does not say how long
LONGEST_PAUSE = 300.0  # seconds; a server that asks for more is asked again after these


def seconds_to_wait(state: RetryCallState) -> float:
    """Seconds until the next attempt.

    The server's own pause counts, at most LONGEST_PAUSE, and up to a tenth is added. Without one it is full-jitter
    exponential backoff.
    """
    error = state.outcome.exception() if state.outcome else None
    told = told_pause(error.response.headers) if isinstance(error, openai.APIStatusError) else None
    if told is None:
        return random.uniform(0, min(LONGEST_BACKOFF, 2.0 ** min(state.attempt_number, 16)))
    if told > LONGEST_BACKOFF:
        log.warning(
            "the server asks for a pause of %.0f s; the next attempt comes after %.0f s", told, min(told, LONGEST_PAUSE)
        )
    return min(told, LONGEST_PAUSE) * random.uniform(1, 1.1)


def told_pause(headers: Mapping[str, str]) -> float | None:
    """Seconds from `retry-after-ms` or `Retry-After`, which holds seconds or a date.

    None without either.
    """
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    header = headers.get("retry-after", "")
    seconds = _number(header)
    if seconds is not None:
        return seconds
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _number(text: str) -> float | None:
    """A number that is not negative; infinity counts as the largest one."""
    try:
        number = float(text)
    except ValueError:
        return None
    return None if math.isnan(number) else min(max(0.0, number), 1e9)

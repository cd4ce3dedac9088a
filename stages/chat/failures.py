"""Failed attempts: what they mean, and how long to wait."""

import email.utils
import logging
import random
import time

import aiohttp
import openai
from pydantic import ValidationError
from tenacity import RetryCallState

log = logging.getLogger(__name__)

LOST = (openai.APIConnectionError, TimeoutError, ValidationError)  # sent, but no usable answer came
ERRORS = (openai.OpenAIError, TimeoutError, ValidationError)
LONGEST_BACKOFF = 30.0  # seconds between attempts when the server does not say how long
LONGEST_DETAIL = 300  # characters


def is_unreachable(error: BaseException) -> bool:
    """Whether no connection was made at all.

    A connection that broke or was too slow does not count.
    """
    origin = error.__cause__.__cause__ if isinstance(error, openai.APIConnectionError) and error.__cause__ else None
    return isinstance(origin, aiohttp.ClientConnectorError | aiohttp.InvalidURL)


def is_passing_status(error: openai.APIStatusError) -> bool:
    """Whether the same request may succeed later, by the HTTP status."""
    return error.status_code in (408, 409, 425, 429) or error.status_code >= 500


def describe(error: Exception) -> str:
    """The error in one line, in the server's own words."""
    if isinstance(error, openai.APIStatusError):
        detail = f"HTTP {error.status_code}: {error.response.text}"  # openai's message keeps only some servers' words
    elif isinstance(error, ValidationError):
        detail = f"malformed response: {error.errors()[0]['msg']}"
    elif isinstance(error, TimeoutError):
        detail = "time-out"
    else:
        detail = f"connection error: {error.__cause__ or error}"
    return " ".join(detail.split())[:LONGEST_DETAIL]


def seconds_to_wait(state: RetryCallState) -> float:
    """Seconds until the next attempt.

    The server's Retry-After and up to a tenth more, or full-jitter exponential backoff.
    """
    error = state.outcome.exception() if state.outcome else None
    told = retry_after(error.response.headers.get("retry-after")) if isinstance(error, openai.APIStatusError) else None
    if told is None:
        return random.uniform(0, min(LONGEST_BACKOFF, 2.0**state.attempt_number))
    if told > LONGEST_BACKOFF:
        log.warning("the server asks for a pause of %.0f s", told)
    return told * random.uniform(1, 1.1)


def retry_after(header: str | None) -> float | None:
    """Seconds from a Retry-After header, which holds seconds or a date.

    None when it is absent or neither.
    """
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

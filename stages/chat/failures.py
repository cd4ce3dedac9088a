"""Failed attempts: what they mean, in the server's own words."""

import json
import re
from functools import lru_cache
from typing import Final

import aiohttp
import openai

from stages.chat.reply import NoAnswer
from stages.chat.request import Request
from stages.chat.transport import UnreadableAnswer

LOST: Final = (openai.APIConnectionError, TimeoutError, NoAnswer)
"""The request was sent, but no usable answer came: the server may have billed it."""
ERRORS: Final = (openai.OpenAIError, TimeoutError, NoAnswer)
LONGEST_DETAIL: Final = 300  # characters

_NOT_TAKEN = re.compile(
    r"unsupported|not (?:yet )?supported|not support|unrecogni[sz]ed|unknown|unexpected|extra.?(?:inputs|forbidden)"
    r"|not permitted"
    r"|not allowed",
    re.IGNORECASE,
)


def is_unreachable(error: BaseException) -> bool:
    """Whether no connection was made at all.

    A connection that broke or was too slow does not count.
    """
    return isinstance(_origin(error), aiohttp.ClientConnectorError)


def is_tls_error(error: BaseException) -> bool:
    """Whether the server's certificate, or its TLS, is the reason."""
    return isinstance(_origin(error), aiohttp.ClientSSLError)


def tls_advice(where: str, detail: str) -> str:
    """What to do about a server whose certificate is not accepted."""
    return (
        f"{where}: no secure connection ({detail}); name the file of the authority that signed its certificate "
        "in ca_file, or write http:// where the server speaks no TLS"
    )


def is_passing(error: BaseException) -> bool:
    """Whether the same request may succeed later.

    Not told of a server that was never reached.
    """
    if isinstance(error, openai.APIStatusError):
        return (error.status_code in (408, 409, 425, 429) or error.status_code >= 500) and not is_out_of_credit(error)
    if isinstance(error, openai.APIConnectionError) and isinstance(error.__cause__, UnreadableAnswer):
        return False
    return isinstance(error, LOST)


def is_out_of_credit(error: openai.APIStatusError) -> bool:
    """Whether the account's quota or credit is used up."""
    return error.status_code == 402 or (error.status_code == 429 and "insufficient_quota" in error.response.text)


def is_filtered(error: openai.APIStatusError) -> bool:
    """Whether the server's content filter refused the request, as Azure says it."""
    return "content_filter" in error.response.text


def advice(error: openai.APIStatusError, request: Request) -> str | None:
    """The parameter to change when the server refuses a field."""
    words = error.response.text
    if error.status_code not in (400, 422):
        return None
    if "trust-request-mm-kwargs" in words:
        return "start the server with --trust-request-mm-kwargs, because each clip has a frame rate of its own"
    if not _NOT_TAKEN.search(words):
        return None
    if request.is_video and "media_io_kwargs" in words:
        return "set payload: images, for a server that takes no frame rate"
    if request.logprobs and "logprobs" in words:
        return "set handshake: false, for a server that sends no log-probabilities"
    dialect = request.dialect
    if "logit_bias" in dialect.extra_body and "logit_bias" in words:
        return "set forbid_placeholders: false, and take logit_bias out of extra_body if it is there"
    named = [name for name in dialect.extra_body if re.search(rf"\b{re.escape(name)}\b", words)]
    if named:
        return f"take {', '.join(named)} out of extra_body"
    if re.search(rf"\b{dialect.max_tokens_field}\b", words):
        other = "max_tokens" if dialect.max_tokens_field == "max_completion_tokens" else "max_completion_tokens"
        return f"set max_tokens_field: {other}"
    if dialect.send_seed and re.search(r"\bseed\b", words):
        return "set send_seed: false"
    return None


def describe(error: Exception) -> str:
    """The error, in the server's own words."""
    if isinstance(error, openai.APIStatusError):
        return f"HTTP {error.status_code}: {_words(error.response.text)}"  # openai's message keeps only some of them
    if isinstance(error, NoAnswer):
        return f"malformed response: {error}"
    if isinstance(error, TimeoutError):
        return "time-out"
    return f"connection error: {error.__cause__ or error}"


def in_one_line(text: str, key: str | None) -> str:
    """The text in one short line, without the key."""
    return " ".join(redacted(text, key).split())[:LONGEST_DETAIL]


def redacted(text: str, key: str | None) -> str:
    """The text without the key, also where the key is escaped."""
    return _pattern(key).sub("[key]", text) if key else text


@lru_cache(maxsize=4)
def _pattern(key: str) -> re.Pattern[str]:
    return re.compile("".join(rf"(?:{re.escape(mark)}|(?i:\\u00{ord(mark):02x}|%{ord(mark):02x}))" for mark in key))


def _words(body: str) -> str:
    """A body for a person: JSON without escapes."""
    try:
        return json.dumps(json.loads(body), ensure_ascii=False)
    except (ValueError, RecursionError):
        return body


def _origin(error: BaseException) -> BaseException | None:
    """aiohttp's error behind one of openai's."""
    if isinstance(error, openai.APIConnectionError) and error.__cause__:
        return error.__cause__.__cause__
    return None

"""How a request ended, read from the server's chat completion."""

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from pydantic import JsonValue

from stages.chat.thoughts import joined

Status = Literal["ok", "truncated", "refused", "failed"]

LONGEST_WORDS: Final = 2**16
"""Characters of a message; the key is taken out of it before it is cut shorter."""
LARGEST_COUNT: Final = 2**31 - 1
"""Tokens; a count beyond it is a fault of the server."""
_FINAL: Final[dict[str, tuple[Status, str]]] = {
    "stop": ("ok", ""),
    "length": ("truncated", "reached max_tokens"),
    "content_filter": ("refused", "content_filter"),
    "tool_calls": ("refused", "asked for a tool"),
}
"""The reasons with which an answer is final, with its status and detail. Any other reason is a failure."""


@dataclass(frozen=True)
class TokenLogprob:
    """One token of an answer, and its log-probability."""

    token: str
    logprob: float


@dataclass(frozen=True)
class Reply:
    """How a request ended. `detail` says why a reply is not ok.

    ok: a whole answer. truncated: cut off at max_tokens. refused: by the server's content filter or by the model.
    failed: no answer. `reasoning` is the thought that some servers send apart from the text. Token counts are the
    server's own, and 0 where it gave none. `logprobs`, and the token ids of answer and prompt, are empty where they
    were not asked for or not sent. `others` are the further answers to a request for several (n).
    """

    status: Status
    text: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    detail: str = ""
    reasoning: str = ""
    logprobs: tuple[TokenLogprob, ...] = ()
    ids: tuple[int, ...] = ()
    prompt_ids: tuple[int, ...] = ()
    others: tuple["Reply", ...] = ()

    @property
    def whole_text(self) -> str:
        """The thought and the answer as one text."""
        return joined(self.text, self.reasoning)


class NoAnswer(Exception):
    """A successful HTTP response that holds no final answer.

    The message has the server's own words.
    """


def read_reply(data: bytes) -> Reply:
    """A server's body as a reply; NoAnswer when it holds none."""
    body = _parsed(data)
    choices = body.get("choices")
    if body.get("error") and not choices:
        raise NoAnswer(f"an error instead of an answer: {_shown(body['error'])}")
    if not isinstance(choices, list) or not choices:
        raise NoAnswer(f"no choices in {_shown(body)}")
    first, *others = (_answer(_object(choice), body) for choice in choices)
    return dataclasses.replace(first, others=tuple(others))


def _answer(choice: dict[str, JsonValue], body: dict[str, JsonValue]) -> Reply:
    """One of a body's answers."""
    message, reason, usage = _object(choice.get("message")), choice.get("finish_reason"), _object(body.get("usage"))
    if not isinstance(reason, str) or reason not in _FINAL:
        raise NoAnswer(f"the answer ended with finish_reason {_shown(reason)}: {_shown(body.get('error') or message)}")
    status, detail = _FINAL[reason]
    if refusal := _text(message.get("refusal")):
        status, detail = "refused", refusal
    return Reply(
        status=status,
        text=_text(message.get("content")),
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
        detail=detail,
        reasoning=_text(message.get("reasoning_content")) or _text(message.get("reasoning")),
        logprobs=tuple(_logprobs(choice.get("logprobs"))),
        ids=_ids(choice.get("token_ids")),
        prompt_ids=_ids(body.get("prompt_token_ids")),
    )


def _parsed(data: bytes) -> dict[str, JsonValue]:
    """The JSON object of a body in UTF-8.

    Bytes of another encoding become the replacement character.
    """
    text = data.decode("utf-8-sig", errors="replace")
    try:
        body = json.loads(text, parse_int=_integer, strict=False)
    except (ValueError, RecursionError):
        raise NoAnswer(f"no JSON: {text[:LONGEST_WORDS]}") from None
    if not isinstance(body, dict):
        raise NoAnswer(f"no JSON object: {text[:LONGEST_WORDS]}")
    return body


def _integer(digits: str) -> int:
    """A JSON integer.

    One that no field can hold becomes -1, which no count accepts.
    """
    return int(digits) if len(digits) < 20 else -1


def _object(value: JsonValue) -> dict[str, JsonValue]:
    return value if isinstance(value, dict) else {}


def _text(value: JsonValue) -> str:
    """A text, or the texts of a list of parts.

    "" for anything else.

    Lone surrogates become U+FFFD, because no file can hold them.
    """
    if isinstance(value, list):
        return "".join(_text(_object(part).get("text")) for part in value)
    if not isinstance(value, str):
        return ""
    if value.isascii():
        return value
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _count(value: JsonValue) -> int:
    """A number of tokens.

    0 where the server gives none, or one out of range.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LARGEST_COUNT:
        return 0
    return int(value)


def _logprobs(value: JsonValue) -> Iterator[TokenLogprob]:
    """The tokens of `logprobs`, up to the first item without one."""
    content = _object(value).get("content")
    for each in content if isinstance(content, list) else ():
        token, logprob = _object(each).get("token"), _object(each).get("logprob")
        if not isinstance(token, str) or isinstance(logprob, bool) or not isinstance(logprob, int | float):
            return
        yield TokenLogprob(_text(token), float(logprob))


def _ids(value: JsonValue) -> tuple[int, ...]:
    """Token ids; () for anything else."""
    ids = value if isinstance(value, list) else []
    numbers = tuple(each for each in ids if isinstance(each, int) and not isinstance(each, bool))
    return numbers if len(numbers) == len(ids) else ()


def _shown(value: JsonValue) -> str:
    """The server's words for a message."""
    return json.dumps(value, ensure_ascii=False)[:LONGEST_WORDS]

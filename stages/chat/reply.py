"""How a request ended, read from the server's chat completion."""

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, Field

Status = Literal["ok", "truncated", "refused", "failed"]


@dataclass(frozen=True)
class Reply:
    """How a request ended. `detail` says why a reply is not ok.

    ok: a whole answer. truncated: cut off at max_tokens. refused: by the server's content filter or by the model.
    failed: no answer. Token counts are the server's own, and 0 where it gave none.
    """

    status: Status
    text: str = ""
    finish_reason: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    detail: str = ""


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Usage(BaseModel):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Completion(BaseModel):
    """The part of a chat completion that is read."""

    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage | None = None


def read_reply(text: str) -> Reply:
    """A server's body as a reply.

    ValidationError when it is not JSON or holds no choice.
    """
    completion = _Completion.model_validate_json(text)
    choice, usage = completion.choices[0], completion.usage or _Usage()
    status, detail = _status(choice)
    return Reply(
        status=status,
        text=choice.message.content or "",
        finish_reason=choice.finish_reason or "",
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        detail=detail,
    )


def _status(choice: _Choice) -> tuple[Status, str]:
    """The status and its detail."""
    if choice.finish_reason == "content_filter" or choice.message.refusal:
        return "refused", choice.message.refusal or "content_filter"
    if choice.finish_reason == "length":
        return "truncated", "reached max_tokens"
    return "ok", ""

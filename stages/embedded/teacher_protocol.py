"""The OpenAI chat protocol for the embedded teacher.

A request comes in, and its completion goes out.
"""

import base64
import binascii
import hashlib
import io
import re
from typing import Annotated, Final, Literal

import numpy as np
from PIL import Image, UnidentifiedImageError
from pydantic import BaseModel, Field, JsonValue

from stages.embedded.teacher import Picture, Teacher

MODEL: Final = "embedded-teacher"
MAX_PIXELS: Final = 4096 * 4096

_TOKEN = re.compile(r"\s*(?:</?\w+>|\w+|[^\w\s])")


class RequestError(Exception):
    """A request that cannot be served: HTTP status and one line."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class TextPart(BaseModel):
    """A text part of a message."""

    type: Literal["text"]
    text: str


class ImageUrl(BaseModel):
    """Where a picture is; only data: URIs are served."""

    url: str


class ImagePart(BaseModel):
    """A picture part of a message."""

    type: Literal["image_url"]
    image_url: ImageUrl


class Message(BaseModel):
    """One turn."""

    role: str
    content: str | list[Annotated[TextPart | ImagePart, Field(discriminator="type")]]


class ChatRequest(BaseModel):
    """The part of an OpenAI chat request that the teacher reads."""

    model: str
    messages: list[Message] = Field(min_length=1)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    temperature: float = Field(default=1.0, ge=0, le=2)
    seed: int | None = None
    n: int = Field(default=1, ge=1, le=32)
    stream: Literal[False] = False

    @property
    def limit(self) -> int | None:
        """Most tokens of a completion; `max_completion_tokens` is the newer name."""
        return self.max_completion_tokens or self.max_tokens


def complete(teacher: Teacher, request: ChatRequest) -> dict[str, JsonValue]:
    """The chat completion, as the protocol's JSON object.

    RequestError when a picture cannot be read.
    """
    question, pictures = _content(request.messages)
    content = hashlib.sha256(request.model_dump_json(include={"messages"}).encode()).hexdigest()
    answers = [_answer_tokens(teacher, request, question, pictures, content, index) for index in range(request.n)]
    prompt_tokens = len(_TOKEN.findall(question)) + sum(-(-picture.size // (3 * 28 * 28)) for picture in pictures)
    completion_tokens = sum(len(tokens[: request.limit]) for tokens in answers)
    return {
        "id": f"chatcmpl-{content[:24]}",
        "object": "chat.completion",
        "created": 0,  # no clock: equal requests get equal answers
        "model": request.model,
        "choices": [_choice(tokens, request.limit, index) for index, tokens in enumerate(answers)],
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
        },
    }


def _answer_tokens(
    teacher: Teacher, request: ChatRequest, question: str, pictures: list[Picture], content: str, index: int
) -> list[str]:
    """The tokens of one whole answer.

    At temperature 0, the request's seed and the index make no difference.
    """
    draw = (request.seed, index) if request.temperature > 0 else None
    digest = hashlib.sha256(f"{teacher.seed}/{content}/{draw}".encode()).digest()
    return _TOKEN.findall(teacher.say(question, pictures, np.random.default_rng(int.from_bytes(digest))))


def _choice(tokens: list[str], limit: int | None, index: int) -> dict[str, JsonValue]:
    return {
        "index": index,
        "message": {"role": "assistant", "content": "".join(tokens[:limit])},
        "logprobs": None,
        "finish_reason": "length" if limit and len(tokens) > limit else "stop",
    }


def _content(messages: list[Message]) -> tuple[str, list[Picture]]:
    """The text and the pictures of the user's turns, in order."""
    texts: list[str] = []
    pictures: list[Picture] = []
    for message in messages:
        if message.role != "user":
            continue
        parts = [TextPart(type="text", text=message.content)] if isinstance(message.content, str) else message.content
        for part in parts:
            if isinstance(part, TextPart):
                texts.append(part.text)
            else:
                pictures.append(_picture(part.image_url.url))
    return "\n".join(texts), pictures


def _picture(url: str) -> Picture:
    """The pixels of a JPEG or PNG in a data: URI.

    RequestError for anything else.
    """
    head, comma, data = url.partition(",")
    if not (comma and head.startswith("data:image/") and head.endswith(";base64")):
        raise RequestError(400, "image_url must be a data: URI with a base64 picture; nothing is fetched")
    try:
        with Image.open(io.BytesIO(base64.b64decode(data, validate=True)), formats=("JPEG", "PNG")) as image:
            if image.width * image.height > MAX_PIXELS:
                raise RequestError(
                    400, f"picture of {image.width}x{image.height} pixels; at most {MAX_PIXELS} are read"
                )
            return np.asarray(image.convert("RGB"))
    except (binascii.Error, Image.DecompressionBombError, UnidentifiedImageError, OSError, SyntaxError) as error:
        raise RequestError(400, f"picture cannot be read: {error}") from None

"""Parameters of every stage that asks a server."""

from typing import Annotated, Literal

import orjson
from pydantic import Field, JsonValue, field_validator

from stages.run.params import Params

Payload = Literal["images", "video"]
PayloadChoice = Literal["auto", "images", "video"]
FrameTimes = Literal["none", "text"]
MaxTokensField = Literal["max_tokens", "max_completion_tokens"]

OWN_PARAMETER = ("model", "messages", "max_tokens", "max_completion_tokens", "temperature", "top_p", "seed")
NOT_READ = ("stream", "n")  # would change the form of the answer


KeyVariable = Annotated[
    str | None, Field(description="environment variable with the key; null for servers without keys")
]
Authorities = Annotated[
    str | None,
    Field(
        description="PEM file of the authorities that may sign a server's certificate; null: SSL_CERT_FILE of the "
        "environment, or the usual ones"
    ),
]


class EndpointParams(Params):
    """Where the server is, and how it is asked."""

    base_url: str = Field(description="address of the server; /v1 is added where it has no path")
    model: str = Field(description="name of the model on that server")
    api_key_env: KeyVariable = None
    ca_file: Authorities = None
    extra_body: dict[str, JsonValue] = Field(
        default={},
        description="further fields of each request, such as top_k, chat_template_kwargs, mm_processor_kwargs",
    )
    max_tokens_field: MaxTokensField = Field(
        default="max_tokens", description="the server's name for the most tokens of an answer"
    )
    send_seed: bool = Field(default=True, description="whether the seed is sent; false for a server that refuses it")
    concurrency: int = Field(default=16, ge=1, description="requests in flight at once")
    requests_per_minute: float | None = Field(
        default=None, gt=0, description="most requests sent in a minute; null: no limit"
    )
    tokens_per_minute: float | None = Field(
        default=None,
        gt=0,
        description="most tokens asked for in a minute: prompt (estimated) + max_tokens; null: no limit",
    )
    timeout_s: float = Field(
        default=120, gt=0, description="seconds for one whole attempt, from connecting to the last byte"
    )
    retries: int = Field(
        default=5,
        ge=0,
        description="further attempts after a time-out, a broken connection, HTTP 408, 409, 425, 429 or 5xx",
    )

    @field_validator("extra_body")
    @classmethod
    def _check_extra_body(cls, fields: dict[str, JsonValue]) -> dict[str, JsonValue]:
        for name in fields:
            if name in OWN_PARAMETER:
                raise ValueError(f"'{name}' has a parameter of its own; set that instead")
            if name in NOT_READ:
                raise ValueError(f"'{name}' would change the form of the answer; leave it out")
        try:
            orjson.dumps(fields)
        except orjson.JSONEncodeError as error:
            raise ValueError(f"cannot be sent: {error}") from None
        return fields


class ChatParams(EndpointParams):
    """A server that is shown frames."""

    model_path: str | None = Field(
        default=None,
        description="folder with the served model's config and tokenizer, which the handshake compares with the "
        "server; with its weights there, log-probabilities too; null: `model`, where that is a folder here",
    )
    handshake: bool = Field(
        default=True,
        description="whether the first requests check that the server reads what this process would (equal counts of "
        "tokens, equal log-probabilities), where the model's files are here",
    )
    payload: PayloadChoice = Field(
        default="auto",
        description="how frames travel: each as an image, or a clip as a video; "
        "auto: as a video to vLLM, as images to any other server",
    )
    frame_times: FrameTimes = Field(
        default="none", description="text: the time of each frame stands before it, where frames travel as images"
    )

"""Parameters of every stage that asks a server."""

from typing import Literal

from pydantic import Field

from stages.run.params import Params

Payload = Literal["images", "video"]


class ChatParams(Params):
    """Where the server is, and how it is asked."""

    base_url: str = Field(description="address of the server, with its /v1")
    model: str = Field(description="name of the model on that server")
    api_key_env: str | None = Field(
        default=None, description="environment variable that holds the key; null for a server without keys"
    )
    payload: Payload = Field(default="images", description="how frames travel: each as an image, or a clip as a video")
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
        default=5, ge=0, description="further attempts after a time-out, a broken connection, HTTP 429 or 5xx"
    )

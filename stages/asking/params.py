"""Who answers, and how."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from stages.asking.server_engine import ServerParams
from stages.data.prompt import PromptStyle
from stages.model.load import Precision
from stages.run.params import LARGEST_SEED, Params


class AskingParams(Params):
    """Who answers, and how."""

    engine: Literal["transformers", "openai"] = Field(
        default="transformers", description="transformers: in this process; openai: on a server of the OpenAI protocol"
    )
    server: ServerParams | None = Field(default=None, description="the server to ask with engine openai")
    prompt: PromptStyle | None = Field(
        default=None, description="words of the questions in this process; null: those that the model was trained with"
    )
    max_new_tokens: int = Field(default=1024, ge=1, description="most tokens of one answer; a longer one is cut off")
    temperature: float = Field(default=0.0, ge=0, description="of sampling; 0: the likeliest token each time")
    top_p: float = Field(
        default=1.0, gt=0, le=1, description="share of probability that the likeliest tokens to sample from hold"
    )
    max_failed: float = Field(
        default=0.02, ge=0, le=1, description="stop when a larger share of the requests to a server fails"
    )
    seed: int = Field(default=0, ge=0, le=LARGEST_SEED, description="of the shuffled orders and of sampling")
    max_prompt_tokens: int | None = Field(
        default=None,
        ge=1,
        description="longest prompt in this process; null: the model's limit; longer ones count as missing",
    )
    batch_tokens: int = Field(
        default=16384,
        ge=1,
        description="most tokens that this process decodes at once, prompts and full answers together",
    )
    precision: Precision = Field(default="fp32", description="number format of the weights in this process")
    threads: int = Field(default=2, ge=1, description="CPU threads of this process")

    @model_validator(mode="after")
    def _has_a_server(self) -> "AskingParams":
        if self.engine == "openai" and self.server is None:
            raise ValueError("engine 'openai' needs a 'server' with its base_url")
        return self

    @property
    def identity(self) -> "AskingParams":
        """The parameters that decide an answer, the others at their defaults."""
        values: dict[str, Any] = {name: getattr(self, name) for name in AskingParams.model_fields}
        if self.server is not None:
            names = ("base_url", "model", "payload", "frame_times", "extra_body", "prompt", "forbid_placeholders")
            values["server"] = ServerParams(**{name: getattr(self.server, name) for name in names})
        return AskingParams(**{**values, "max_failed": 0.0})

    def asking(self, model: str, base_url: str | None) -> Self:
        """These parameters with the server and its model filled in.

        `base_url` replaces the parameters' server. `model` is the served model unless they name one.
        """
        if base_url is None and self.server is None:
            return self
        server = self.server or ServerParams(base_url=base_url or "")
        changes = {"model": server.model or model, "base_url": base_url or server.base_url}
        return self.model_copy(
            update={"engine": "openai" if base_url else self.engine, "server": server.model_copy(update=changes)}
        )

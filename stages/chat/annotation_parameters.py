"""Parameters of the annotation: the teacher, and what it is asked."""

from pydantic import Field

from stages.chat.first_answers import COUNT
from stages.chat.ledger import Price
from stages.chat.parameters import ChatParams
from stages.data.prompt import PromptStyle
from stages.run.params import LARGEST_SEED


class AnnotateParams(ChatParams):
    """The teacher, what it is asked, and what that may cost."""

    base_url: str = Field(default="embedded", description='address of the server, or "embedded": the built-in teacher')
    model: str = Field(default="embedded-teacher", description="name of the model on that server")
    prompt: PromptStyle | None = Field(
        default=None,
        description='words of the questions; null: "plain" for the embedded teacher, "video-r1" for any other',
    )
    n: int = Field(default=1, ge=1, description="answers per question")
    temperature: float = Field(default=1.0, ge=0, description="of the teacher's sampling; 0 is greedy")
    top_p: float = Field(default=0.95, gt=0, le=1, description="share of the likeliest tokens to sample from")
    max_tokens: int = Field(default=512, ge=1, description="most tokens of an answer")
    seed: int = Field(
        default=0,
        ge=0,
        le=LARGEST_SEED,
        description="sent with each request; answer i of a question is asked with seed + i",
    )
    careless: float = Field(
        default=0.84, ge=0, le=1, description="embedded teacher: share of careless thoughts about temporal questions"
    )
    prices: dict[str, Price] = Field(default={}, description="by model name; a model without a price is free of charge")
    max_cost: float | None = Field(
        default=None,
        ge=0,
        description="money: one annotation, resumed or not, stops before it costs more; null: no limit",
    )
    max_tokens_total: int | None = Field(
        default=None, ge=0, description="tokens: one annotation stops before it uses more; null: no limit"
    )
    answers: str = Field(
        default=".work/answers",
        min_length=1,
        description="folder that keeps every answer, outside DVC's reach; several checkouts can share one",
    )
    max_failed: float = Field(default=0.02, ge=0, le=1, description="stop when a larger share of the requests fails")
    max_unusable: float = Field(
        default=0.9,
        ge=0,
        le=1,
        description=f"stop when a larger share of the first {COUNT} answers is malformed, truncated or refused",
    )

    @property
    def embedded(self) -> bool:
        """Whether the embedded teacher is asked."""
        return self.base_url == "embedded"

    @property
    def style(self) -> PromptStyle:
        """The words of the questions."""
        return self.prompt or ("plain" if self.embedded else "video-r1")

"""Parameters of the annotation: the teacher, and what it is asked."""

from pydantic import Field

from stages.chat.first_answers import COUNT
from stages.chat.limits import LimitParams
from stages.chat.parameters import ChatParams
from stages.data.prompt import PromptStyle
from stages.run.params import LARGEST_SEED


class AnnotateParams(LimitParams, ChatParams):
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

"""What a run of requests has spent, held against its limits."""

from pydantic import Field

from stages.chat.reply import Reply
from stages.chat.request import Request
from stages.run.errors import UserError
from stages.run.params import Params


class Price(Params):
    """What a model's tokens cost."""

    prompt: float = Field(ge=0, description="money per million prompt tokens")
    completion: float = Field(ge=0, description="money per million completion tokens")


class Ledger:
    """Tokens and money spent by one run, held against its limits.

    A request is admitted only when it fits even with all of max_tokens. Its prompt is estimated; so, under a limit, the
    first request goes alone, and its real count corrects the other estimates. An attempt that was lost (time-out,
    broken connection) counts as its worst case, and is repeated only when the worst case fits once more.
    """

    def __init__(
        self,
        price: Price | None,
        max_cost: float | None = None,
        max_tokens: int | None = None,
        section: str = "annotate",
    ) -> None:
        """`price` None means free of charge; other Nones mean no limit.

        `max_cost` is in the money of `price`. `section` is what messages call the parameters.
        """
        self._section = section
        self._price = price or Price(prompt=0, completion=0)
        self._max_cost, self._max_tokens = max_cost, max_tokens
        self._limited = max_cost is not None or max_tokens is not None
        self._reserved: dict[str, tuple[int, int]] = {}  # by request key: prompt and completion tokens at most
        self._scale = 0.0  # largest real / estimated prompt so far, at least 1 once known
        self._counted_prompt = 0  # tokens, by the server
        self._lost_prompt = 0  # tokens of lost attempts, estimated
        self.completion_tokens = 0

    @property
    def prompt_tokens(self) -> int:
        """Prompt tokens spent, those of lost attempts estimated."""
        return self._counted_prompt + round(self._lost_prompt * max(1.0, self._scale))

    @property
    def tokens(self) -> int:
        """All tokens spent."""
        return self.prompt_tokens + self.completion_tokens

    @property
    def cost(self) -> float:
        """Money spent."""
        return self._cost(self.prompt_tokens, self.completion_tokens)

    def admit(self, request: Request) -> bool:
        """Reserve the request's worst case.

        False when it does not fit, or not yet.
        """
        if self._limited and not self._fits(request):
            return False
        self._reserved[request.key] = self._worst(request)
        return True

    def settle(self, request: Request, reply: Reply) -> None:
        """Replace the reservation by what was used.

        UserError when there is a limit and the server does not count tokens.
        """
        self._reserved.pop(request.key, None)
        self.add(reply.prompt_tokens, reply.completion_tokens)
        if reply.prompt_tokens:
            self._scale = max(1.0, self._scale, reply.prompt_tokens / request.prompt_estimate)
        elif self._limited and reply.status in ("ok", "truncated"):
            raise UserError(
                "the server does not say how many tokens an answer took, so no limit can be kept; "
                f"set {self._section}.max_cost and {self._section}.max_tokens_total to null"
            )

    def admit_again(self, request: Request) -> bool:
        """Count an attempt that was lost, and admit another one."""
        del self._reserved[request.key]
        self._lost_prompt += request.prompt_estimate
        self.completion_tokens += request.sampling.max_tokens
        return self.admit(request)

    def add(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Count tokens that the server reported."""
        self._counted_prompt += prompt_tokens
        self.completion_tokens += completion_tokens

    def _fits(self, request: Request) -> bool:
        if not self._scale and self._reserved:
            return False
        reserved = [*self._reserved.values(), self._worst(request)]
        prompt = self.prompt_tokens + sum(prompt for prompt, _ in reserved)
        completion = self.completion_tokens + sum(completion for _, completion in reserved)
        if self._max_cost is not None and self._cost(prompt, completion) > self._max_cost:
            return False
        return self._max_tokens is None or prompt + completion <= self._max_tokens

    def _worst(self, request: Request) -> tuple[int, int]:
        return round(request.prompt_estimate * max(1.0, self._scale)), request.sampling.max_tokens

    def _cost(self, prompt: int, completion: int) -> float:
        return (prompt * self._price.prompt + completion * self._price.completion) / 1e6

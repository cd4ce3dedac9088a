"""What requests may cost, and where their answers are kept."""

from pydantic import Field

from stages.chat.ledger import Ledger, Price
from stages.run.errors import UserError
from stages.run.params import Params


class LimitParams(Params):
    """Limits of tokens, money and failures, and the archive of answers."""

    prices: dict[str, Price] = Field(default={}, description="by model name; a model without a price is free of charge")
    max_cost: float | None = Field(
        default=None, ge=0, description="money: one run, resumed or not, stops before it costs more; null: no limit"
    )
    max_tokens_total: int | None = Field(
        default=None, ge=0, description="tokens: one run stops before it uses more; null: no limit"
    )
    answers: str = Field(
        default=".work/answers",
        min_length=1,
        description="folder that keeps every answer, outside DVC's reach; several checkouts can share one",
    )
    max_failed: float = Field(default=0.02, ge=0, le=1, description="stop when a larger share of the requests fails")

    def ledger(self, model: str, section: str) -> Ledger:
        """An empty ledger with these limits.

        `section` is what messages call these parameters. UserError for a cost limit without a price.
        """
        if self.max_cost is not None and model not in self.prices:
            raise UserError(
                f"{section}.max_cost is set but {section}.prices has no '{model}'; add its price per million tokens"
            )
        return Ledger(self.prices.get(model), self.max_cost, self.max_tokens_total, section)

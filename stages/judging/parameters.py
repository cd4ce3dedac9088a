"""Parameters of the judge."""

from pydantic import Field

from stages.chat.first_answers import COUNT
from stages.chat.limits import LimitParams
from stages.chat.parameters import EndpointParams


class JudgeParams(LimitParams, EndpointParams):
    """The judge's server, how often it checks, and its cost limits.

    It is asked at temperature 0 and without pictures.
    """

    max_tokens: int = Field(default=512, ge=1, description="most tokens of a verdict, with a thinking judge's thought")
    checks: int = Field(
        default=100,
        ge=0,
        description="answers of one evaluation that the rules score and that the judge is asked about too, "
        "to measure the judge",
    )
    max_unreadable: float = Field(
        default=0.9, ge=0, le=1, description=f"stop when a larger share of the first {COUNT} verdicts is unreadable"
    )

"""The answers of a policy to the RL questions, by showing."""

from typing import TypedDict

from stages.data.order import Order
from stages.data.outputs import OutputStatus
from stages.run.schemas import Int32, schema_of


class ProbedRow(TypedDict):
    """One graded answer.

    `answer` is the answer inside the text, None without one. `grade` in [0, 1] is the accuracy reward, None where no
    answer came back (status `error`, `detail` says why). `tokens` counts the generated tokens.
    """

    sample_id: str
    order: Order
    text: str
    status: OutputStatus
    answer: str | None
    grade: float | None
    tokens: Int32
    detail: str


PROBED_SCHEMA = schema_of(ProbedRow)

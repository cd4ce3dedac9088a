"""The answers of a policy to the RL questions, by showing."""

from typing import TypedDict

import pyarrow as pa

from stages.data.order import Order
from stages.data.outputs import OutputStatus


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
    tokens: int
    detail: str


PROBED_SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("order", pa.string()),
        ("text", pa.string()),
        ("status", pa.string()),
        ("answer", pa.string()),
        ("grade", pa.float64()),
        ("tokens", pa.int32()),
        ("detail", pa.string()),
    ]
)

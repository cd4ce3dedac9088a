"""The table of kept rollouts: T-GRPO writes it, the report shows it."""

from typing import TypedDict

import pyarrow as pa


class RolloutRow(TypedDict):
    """One graded response. Contrast responses have no reward: of the numbers, `accuracy` alone is set."""

    sample_id: str
    step: int
    order: str
    text: str
    answer: str | None
    accuracy: float
    format: float | None
    temporal: float | None
    length: float | None
    advantage: float | None


ROLLOUT_SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("step", pa.int32()),
        ("order", pa.string()),
        ("text", pa.string()),
        ("answer", pa.string()),
        *((name, pa.float64()) for name in ("accuracy", "format", "temporal", "length", "advantage")),
    ]
)

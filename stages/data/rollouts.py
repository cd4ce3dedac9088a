"""The table of kept rollouts, which T-GRPO writes and the report shows."""

from typing import TypedDict

from stages.run.schemas import Int32, schema_of


class RolloutRow(TypedDict):
    """One graded response.

    `order` is "ordered" or the contrast. A contrast response has an accuracy, and no reward: the other numbers are
    None. `gain` is Δ in nats per token: how much likelier the ordered frames made the response, or, in temporal mode
    `thought`, its own notes made its conclusion. It is None where nothing was measured.
    """

    sample_id: str
    step: Int32
    order: str
    text: str
    answer: str | None
    accuracy: float
    format: float | None
    temporal: float | None
    length: float | None
    advantage: float | None
    gain: float | None


ROLLOUT_SCHEMA = schema_of(RolloutRow)

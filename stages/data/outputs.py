"""The outputs of engines: answers of a model, not yet graded."""

from typing import Literal, TypedDict

from stages.data.order import Order
from stages.run.schemas import schema_of

OutputStatus = Literal["ok", "truncated", "error"]


class Output(TypedDict):
    """One answer of an engine, as the journal keeps it.

    `key` names the question and its order. `tokens` counts the generated tokens. `frame_order` holds the indices of the
    frames in the order in which they were shown; `width` and `height` are in pixels. `detail` says why the status is
    `error`, and is "" otherwise.
    """

    key: str
    sample_id: str
    order: Order
    text: str
    status: OutputStatus
    tokens: int
    frame_order: list[int]
    n_frames: int
    width: int
    height: int
    detail: str


OUTPUT_SCHEMA = schema_of(Output)

"""The table of annotations: what a teacher answered for each sample."""

from typing import Literal, TypedDict

import pyarrow as pa

Status = Literal["ok", "malformed", "truncated", "refused", "failed"]


class AnnotationRow(TypedDict):
    """One answer. `detail` says why it is not ok; tokens are the teacher's own count."""

    sample_id: str
    request_key: str
    status: Status
    detail: str
    text: str
    prompt_tokens: int
    completion_tokens: int


ANNOTATION_SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("request_key", pa.string()),
        ("status", pa.string()),
        ("detail", pa.string()),
        ("text", pa.string()),
        ("prompt_tokens", pa.int64()),
        ("completion_tokens", pa.int64()),
    ]
)

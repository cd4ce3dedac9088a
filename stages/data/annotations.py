"""The tables of annotation.

One holds every answer ever paid for, the other the answers that a run uses.
"""

from typing import Literal, NotRequired, TypedDict, get_args

from stages.run.schemas import schema_of

Status = Literal["ok", "malformed", "truncated", "refused", "failed"]
STATUSES: tuple[Status, ...] = get_args(Status)


class AnswerRow(TypedDict):
    """One answer as it is stored, by the key of its request.

    Its words stay the server's, so that a later version can read more of them. `reasoning` is the thought that some
    servers send apart from the text; null in answers from before that column.
    """

    key: str
    model: str
    status: Literal["ok", "truncated", "refused"]
    detail: str
    text: str
    reasoning: NotRequired[str | None]
    prompt_tokens: int
    completion_tokens: int


class AnnotationRow(TypedDict):
    """One answer about one sample.

    `detail` says why it is not ok. Tokens are the teacher's own count.
    """

    sample_id: str
    request_key: str
    status: Status
    detail: str
    text: str
    prompt_tokens: int
    completion_tokens: int


ANSWER_SCHEMA = schema_of(AnswerRow)
ANNOTATION_SCHEMA = schema_of(AnnotationRow)

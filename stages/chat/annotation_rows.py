"""Answers as rows.

How they are stored, and how the table of annotations shows them.
"""

from stages.chat.reply import Reply
from stages.chat.request import Request
from stages.chat.thoughts import joined
from stages.data.annotations import AnnotationRow, AnswerRow
from stages.data.grading import is_well_formed

MALFORMED = "not exactly <think>…</think><answer>…</answer>"


def answer_row(request: Request, reply: Reply) -> AnswerRow:
    """A reply as it is stored.

    ValueError for a failed request, which has no answer.
    """
    if reply.status == "failed":
        raise ValueError("a failed request has no answer to keep")
    return AnswerRow(
        key=request.key,
        model=request.model,
        status=reply.status,
        detail=reply.detail,
        text=reply.text,
        reasoning=reply.reasoning,
        prompt_tokens=reply.prompt_tokens,
        completion_tokens=reply.completion_tokens,
    )


def annotation_row(sample_id: str, answer: AnswerRow) -> AnnotationRow:
    """A stored answer about one sample, read by the present rules.

    They may read what earlier ones could not.
    """
    reasoning = answer.get("reasoning") or ""
    text = joined(answer["text"], reasoning)
    row = AnnotationRow(
        sample_id=sample_id,
        request_key=answer["key"],
        status=answer["status"],
        detail=answer["detail"],
        text=text or reasoning,
        prompt_tokens=answer["prompt_tokens"],
        completion_tokens=answer["completion_tokens"],
    )
    if row["status"] == "ok" and not is_well_formed(text):
        row["status"], row["detail"] = "malformed", MALFORMED
    return row


def failed_row(sample_id: str, key: str, detail: str) -> AnnotationRow:
    """A request without an answer."""
    return AnnotationRow(
        sample_id=sample_id,
        request_key=key,
        status="failed",
        detail=detail,
        text="",
        prompt_tokens=0,
        completion_tokens=0,
    )

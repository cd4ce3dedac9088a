"""Records that are conversations, as LLaMA-Factory, ms-swift and OpenAI's API write them.

A conversation with one question and one answer becomes the fields of a record. Its medium stands in the column `video`,
`image`, `videos` or `images`, or in a part of the question.
"""

import re
from collections.abc import Mapping
from typing import Literal

from stages.data.grading import extract_answer
from stages.data.sample import Unusable

COLUMNS = ("messages", "conversations")
Role = Literal["system", "user", "assistant"]
_ROLES: dict[str, Role] = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
}
_THOUGHT = re.compile(r"\s*(<think>.*?</think>)\s*(.*)", re.DOTALL)
_MEDIA_PARTS = {"image": "images", "image_url": "images", "video": "videos", "video_url": "videos"}


def conversation_column(row: Mapping[str, object]) -> str | None:
    """The column that holds the row's turns, if any."""
    return next((name for name in COLUMNS if isinstance(row.get(name), list)), None)


def conversation_fields(row: Mapping[str, object], column: str) -> dict[str, object]:
    """The row's own fields and those of its conversation.

    Instructions of the system are left out, because every stage asks with its own prompt. A thought in <think> tags
    becomes `process`. Unusable unless the conversation has one question and one answer.
    """
    turns: list[tuple[Role, object]] = [_turn(turn) for turn in _list(row[column])]
    asked = [content for role, content in turns if role == "user"]
    answers = [content for role, content in turns if role == "assistant"]
    roles = [role for role, _ in turns if role != "system"]
    if roles != ["user", "assistant"]:
        detail = f"{len(asked)} questions and {len(answers)} answers; write a record for each question"
        raise Unusable("not one question", detail)
    fields: dict[str, object] = {name: value for name, value in row.items() if name != column}
    if "id" in fields:
        fields.setdefault("problem_id", fields["id"])
    problem, media = _content(asked[0])
    for name, sources in media.items():
        fields[name] = [*_list(fields.get(name)), *sources]
    answer, _ = _content(answers[0])
    thought = _THOUGHT.fullmatch(answer)
    if thought:
        fields["process"] = thought[1]
    without_thought = thought[2] if thought else answer
    fields |= {"problem": problem, "solution": extract_answer(answer) or without_thought}
    return fields


def _turn(turn: object) -> tuple[Role, object]:
    if not isinstance(turn, Mapping):
        raise Unusable("invalid record", f"a turn of the conversation is {str(turn)[:80]!r}, not an object")
    role = turn.get("role", turn.get("from"))
    if not isinstance(role, str) or role not in _ROLES:
        raise Unusable("invalid record", f"a turn is of {str(role)[:80]!r}, not of system, user or assistant")
    return _ROLES[role], turn.get("content", turn.get("value"))


def _content(content: object) -> tuple[str, dict[str, list[object]]]:
    """The text of a turn, and its media by column."""
    if isinstance(content, str):
        return content, {}
    texts: list[str] = []
    media: dict[str, list[object]] = {}
    for part in _list(content):
        kind = part.get("type") if isinstance(part, Mapping) else None
        if isinstance(part, Mapping) and isinstance(kind, str) and kind in _MEDIA_PARTS:
            source = part.get(kind)
            media.setdefault(_MEDIA_PARTS[kind], []).append(
                source.get("url") if isinstance(source, Mapping) else source
            )
        elif isinstance(part, Mapping) and kind == "text" and isinstance(part.get("text"), str):
            texts.append(part["text"])
        else:
            raise Unusable("invalid record", f"a part of a turn is {str(part)[:80]!r}, not text, an image or a video")
    return "\n".join(texts), media


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else [] if value is None else [value]

"""The parts of an example, and the choice of examples."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from stages.data.sample import Sample

Item = TypeVar("Item")

_THOUGHT = re.compile(r"<think>(.*?)(?:</think>|$)", re.DOTALL)
ORDER_LABELS = {  # T-GRPO names its contrast by the action, evaluation names the order
    "ordered": "in order",
    "shuffle": "shuffled",
    "shuffled": "shuffled",
    "reverse": "reversed",
    "reversed": "reversed",
    "single-frame": "one frame",
    "blind": "without frames",
}
STATUSES = {
    "only-in-order": "right only in order",
    "blind": "right without frames",
    "judge": "judge and rules disagree",
    "wrong": "wrong",
    "partly": "partly right",
    "no-answer": "no answer",
    "truncated": "cut off",
}


@dataclass(frozen=True)
class Response:
    """One output, as its thought and its answer.

    `answer` is the stored answer, None without one. `score` is None where nobody graded the output. `parts` are the
    parts of its reward.
    """

    label: str
    thought: str
    answer: str | None
    score: float | None
    parts: list[tuple[str, float]] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        """The score: "right", "wrong", two places, or "" without a score."""
        if self.score is None:
            return ""
        return "right" if is_right(self.score) else "wrong" if is_wrong(self.score) else f"{self.score:.2f}"


@dataclass(frozen=True)
class Strip:
    """Frames in a row, each with its number in the clip."""

    label: str
    frames: list[tuple[int, str]]


@dataclass(frozen=True)
class Card:
    """One question with its frames and responses.

    `note` is a line about it. `more` holds responses that the page folds away. `status` is one of STATUSES for an
    example of the last model's answers, and else "".
    """

    sample: Sample
    strips: list[Strip]
    note: str
    responses: list[Response]
    more: list[Response] = field(default_factory=list)
    status: str = ""


def is_right(score: float) -> bool:
    """Whether the score is 1 to two places.

    The grader gives an exactly right regression answer a little less than 1.
    """
    return round(score, 2) == 1


def is_wrong(score: float) -> bool:
    """Whether the score is 0 to two places."""
    return round(score, 2) == 0


def split_thought(text: str) -> tuple[str, str]:
    """An output as its thought and the text after it.

    Without tags, the whole output is the thought.
    """
    found = _THOUGHT.search(text)
    if found is None:
        return text.strip(), ""
    return found.group(1).strip(), text[found.end() :].strip()


def in_turn(items: Sequence[Item], kinds: Sequence[str], count: int) -> list[Item]:
    """Up to `count` items, one of each kind in turn.

    Kinds are sorted by name; the items of one kind keep their order.
    """
    queues: dict[str, list[Item]] = {kind: [] for kind in sorted(kinds)}
    for item, kind in zip(items, kinds, strict=True):
        queues[kind].append(item)
    rounds = max((len(queue) for queue in queues.values()), default=0)
    taken = [queue[turn] for turn in range(rounds) for queue in queues.values() if turn < len(queue)]
    return taken[:count]


def spread(items: Sequence[Item], count: int) -> list[Item]:
    """Up to `count` items, evenly spread from the first to the last."""
    count = min(count, len(items))
    return [items[round(index * (len(items) - 1) / max(1, count - 1))] for index in range(count)]

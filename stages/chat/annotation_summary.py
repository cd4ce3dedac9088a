"""The metrics of an annotation, counted from its table."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from stages.chat.ledger import Ledger, Price
from stages.data.annotations import ANNOTATION_SCHEMA, STATUSES
from stages.data.sample import Sample
from stages.run.files import iterate_rows


class Summary(TypedDict):
    """The metrics of an annotation.

    Tokens and cost are those of its answers, asked now or before.
    """

    samples: int
    samples_without_frames: int
    requests: int
    status: dict[str, int]
    by_type: dict[str, dict[str, int]]
    prompt_tokens: int
    completion_tokens: int
    cost: float


def summarise(annotations: Path, samples: Sequence[Sample], without_frames: int, price: Price | None) -> Summary:
    """Statuses of the whole table, its tokens and their cost.

    Statuses are counted by problem type too.
    """
    without_words = [name for name in ANNOTATION_SCHEMA.names if name not in ("text", "detail")]
    types = {sample.sample_id: sample.problem_type for sample in samples}
    statuses: Counter[str] = Counter()
    by_type = {kind: Counter[str]() for kind in sorted(set(types.values()))}
    tokens: dict[str, tuple[int, int]] = {}  # by request key: equal questions share one request
    for row in iterate_rows(annotations, without_words):
        statuses[row["status"]] += 1
        by_type[types[row["sample_id"]]][row["status"]] += 1
        tokens[row["request_key"]] = row["prompt_tokens"], row["completion_tokens"]
    ledger = Ledger(price)
    for prompt_tokens, completion_tokens in tokens.values():
        ledger.add(prompt_tokens, completion_tokens)
    return Summary(
        samples=len(samples),
        samples_without_frames=without_frames,
        requests=len(tokens),
        status={status: statuses[status] for status in STATUSES},
        by_type={kind: {status: count[status] for status in STATUSES} for kind, count in by_type.items()},
        prompt_tokens=ledger.prompt_tokens,
        completion_tokens=ledger.completion_tokens,
        cost=ledger.cost,
    )


def in_words(summary: Summary) -> str:
    """The summary in one line."""
    statuses = ", ".join(f"{count} {status}" for status, count in summary["status"].items() if count)
    tokens = summary["prompt_tokens"] + summary["completion_tokens"]
    return f"{summary['samples']} samples: {statuses}; {tokens:,} tokens, cost {summary['cost']:.2f}"

"""Spans of time as answers: their text, and their overlap."""

import re
from collections.abc import Sequence

import numpy as np

from stages.evaluation.definition import Profile, ScoredRow
from stages.evaluation.statistics import Estimate, wilson

THRESHOLDS = (0.3, 0.5, 0.7)
ADVICE = "Answer with its start and its end in seconds, for example 3.5 - 12.0."
_TIME = re.compile(r"(?:(\d+):)?(?:(\d+):)?(\d+(?:\.\d+)?)")


def parse_span(text: str) -> tuple[float, float] | None:
    """The start and end in seconds.

    Examples of texts are "3.5 - 12" and "00:03 to 00:12". None unless the text has exactly two times, the first one not
    after the second.
    """
    times = [_seconds(*found) for found in _TIME.findall(text)]
    return (times[0], times[1]) if len(times) == 2 and times[0] <= times[1] else None


def overlap(prediction: str | None, answer: str) -> float:
    """The intersection of two spans over their union, 0 without a span."""
    span, right = parse_span(prediction or ""), parse_span(answer)
    if span is None or right is None:
        return 0.0
    shared = max(0.0, min(span[1], right[1]) - max(span[0], right[0]))
    union = (span[1] - span[0]) + (right[1] - right[0]) - shared
    return shared / union if union > 0 else 0.0


def recalls(rows: Sequence[ScoredRow], profile: Profile) -> dict[str, Estimate]:
    """R@0.3, R@0.5 and R@0.7: the shares of answers with such an overlap."""
    scores = [row[profile] for row in rows if row["order"] == "ordered" and row[profile] is not None]
    overlap_N, n = np.array(scores, dtype=np.float64), len(scores)
    if not n:
        return {}
    return {f"R@{least}": wilson((overlap_N >= least).astype(np.float64), np.full(n, 1 / n)) for least in THRESHOLDS}


def _seconds(first: str, second: str, last: str) -> float:
    """`1:02:03.5` comes as (1, 2, 3.5), and `2:03` as (2, "", 3)."""
    parts = [float(part) for part in (first, second, last) if part]
    return sum(part * 60**power for power, part in enumerate(reversed(parts)))

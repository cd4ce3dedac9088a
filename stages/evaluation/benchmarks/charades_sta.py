"""Charades-STA: when does something happen? The answer is a span of seconds."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from stages.data.sample import Reject, Sample, Unusable
from stages.evaluation.benchmark_records import Fields, Rows, read_benchmark
from stages.evaluation.definition import About, Benchmark, Profile, ScoredRow
from stages.evaluation.statistics import Estimate, wilson

QUESTION = (
    'When does this happen in the video: "{query}" '
    "Answer with its start and its end in seconds, for example 3.5 - 12.0."
)
THRESHOLDS = (0.3, 0.5, 0.7)
_LINE = re.compile(r"(\S+) ([\d.]+) ([\d.]+)##(.+)")
_TIME = re.compile(r"(?:(\d+):)?(?:(\d+):)?(\d+(?:\.\d+)?)")


def read(root: Path) -> Iterator[Sample | Reject]:
    """The official `charades_sta_test.txt` with `<video>.mp4` anywhere below.

    A line is `AO8RW 0.0 6.9##a person is putting a book on a shelf.`
    """
    file = "charades_sta_test.txt"
    yield from read_benchmark(root, "charades_sta", lambda fields: fields, _official, file, f"*/{file}", rows=_rows)


def score(prediction: str | None, sample: Sample, profile: Profile) -> float | None:
    """The intersection of the two spans over their union, 0 without a span."""
    span, right = parse_span(prediction or ""), parse_span(sample.answer)
    if span is None or right is None:
        return 0.0
    shared = max(0.0, min(span[1], right[1]) - max(span[0], right[0]))
    union = (span[1] - span[0]) + (right[1] - right[0]) - shared
    return shared / union if union > 0 else 0.0


def parse_span(text: str) -> tuple[float, float] | None:
    """The start and end in seconds, of "3.5 - 12", "00:03 to 00:12" and the like.

    None unless the text has exactly two times, the first one not after the second.
    """
    times = [_seconds(*found) for found in _TIME.findall(text)]
    return (times[0], times[1]) if len(times) == 2 and times[0] <= times[1] else None


def figures(rows: Sequence[ScoredRow], profile: Profile) -> dict[str, Estimate]:
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


def _rows(file: Path) -> Rows:
    """The lines of the file."""
    with open(file, encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            if found := _LINE.fullmatch(line.strip()):
                yield f"line {number}", dict(zip(("video", "start", "end", "query"), found.groups(), strict=True))
            elif line.strip():
                yield f"line {number}", Unusable("invalid record", f"no `video start end##query`: {line.strip()[:200]}")


def _official(fields: Fields, file: Path) -> Fields:
    return {
        "problem": QUESTION.replace("{query}", fields["query"]),
        "data_type": "video",
        "problem_type": "free-form",
        "solution": f"{fields['start']} - {fields['end']}",
        "path": f"{fields['video']}.mp4",
    }


ABOUT = About(
    questions=3720,
    metric="mIoU, and R@0.3, R@0.5, R@0.7",
    hub=(),
    checked="reader: lines made to the official layout; scorer: spans worked out by hand; the wording is ours",
)
BENCHMARK = Benchmark(about=ABOUT, read=read, score=score, figures=figures)

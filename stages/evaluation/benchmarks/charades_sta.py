"""Charades-STA: when does something happen? The answer is a span of seconds."""

import re
from collections.abc import Iterator
from pathlib import Path

from stages.data.sample import Reject, Sample, Unusable
from stages.evaluation import spans
from stages.evaluation.benchmark_records import Fields, Rows, read_benchmark
from stages.evaluation.definition import About, Benchmark, Profile, never_judged

QUESTION = f'When does this happen in the video: "{{query}}" {spans.ADVICE}'
_LINE = re.compile(r"(\S+) ([\d.]+) ([\d.]+)##(.+)")


def read(root: Path) -> Iterator[Sample | Reject]:
    """The official `charades_sta_test.txt` with `<video>.mp4` anywhere below.

    A line is `AO8RW 0.0 6.9##a person is putting a book on a shelf.`
    """
    file = "charades_sta_test.txt"
    yield from read_benchmark(root, "charades_sta", lambda fields: fields, _official, file, f"*/{file}", rows=_rows)


def score(prediction: str | None, sample: Sample, profile: Profile) -> float | None:
    """The overlap of the two spans."""
    return spans.overlap(prediction, sample.answer)


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
    checked=(
        "reader: a few official lines, from third parties' copies; scorer: spans worked out by hand; the wording is "
        "ours"
    ),
)
BENCHMARK = Benchmark(about=ABOUT, read=read, score=score, judged=never_judged, figures=spans.recalls)

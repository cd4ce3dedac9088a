"""LongVideo-Reason: multiple-choice questions on long videos.

The options stand inside the question's text.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from stages.data.sample import Reject, Sample
from stages.evaluation.benchmark_records import Fields, read_benchmark
from stages.evaluation.definition import About, Benchmark, Profile, score_answer

_OPTION = re.compile(r"^[A-Z][.)] .*$", re.MULTILINE)


def read(root: Path) -> Iterator[Sample | Reject]:
    """The official `test*` file in `root` or in its `data/`.

    The videos come from a second repository; they may lie anywhere below `root` and are found by name. The category is
    the record's own problem type. A record without options in its text is a reject.
    """
    yield from read_benchmark(root, "longvideo_reason", lambda fields: fields, _official, "test*", "data/test*")


def score(prediction: str | None, sample: Sample, profile: Profile) -> float | None:
    """Whether the answer is exactly the letter; for Video-R1 the grader's score."""
    return float(prediction == sample.answer) if profile == "official" else score_answer(prediction, sample, profile)


def _official(fields: Fields, file: Path) -> Fields:
    problem = fields["problem"]
    number = {"problem_id": fields["problem_id"]} if "problem_id" in fields else {}
    return number | {
        "problem": _OPTION.sub("", problem).strip(),
        "data_type": "video",
        "problem_type": "multiple choice",
        "options": _OPTION.findall(problem),
        "solution": fields["answer"],
        "path": Path(fields["videos"]).name,  # the archives unpack into other folders than the records name
        "original_question_type": fields.get("problem_type") or "",
    }


ABOUT = About(
    questions=851,
    metric="share of answers that are exactly the letter",
    hub=("LongVideo-Reason/longvideo-reason",),
    checked=(
        "reader: two or three official records, from third parties' copies; the videos are in a second dataset, which "
        "--root has to name"
    ),
)
BENCHMARK = Benchmark(about=ABOUT, read=read, score=score)

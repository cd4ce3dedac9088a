"""MotionBench: motion in detail, in six kinds of questions."""

from collections.abc import Iterator
from pathlib import Path

from stages.data.sample import Reject, Sample
from stages.evaluation.benchmark_records import Fields, Rows, choice, nested_rows, read_benchmark, split_options
from stages.evaluation.definition import About, Benchmark

TEMPORAL = frozenset({"Action Order", "Repetition Count", "Motion Recognition", "Camera Motion"})


def read(root: Path) -> Iterator[Sample | Reject]:
    """The official `video_info.meta.jsonl` with the videos anywhere below.

    The category is the question type. The questions of the test half are left out: their answer is `NA`.
    """
    file = "video_info.meta.jsonl"
    yield from read_benchmark(root, "motionbench", lambda fields: fields, _official, file, f"*/{file}", rows=_answered)


def _answered(file: Path) -> Rows:
    rows = nested_rows(file)
    return ((place, raw) for place, raw in rows if not (isinstance(raw, dict) and raw.get("answer") == "NA"))


def _official(fields: Fields, file: Path) -> Fields:
    problem, options = split_options(fields["question"])
    return choice(
        problem,
        options,
        fields["answer"],
        fields["video_path"],
        fields["question_type"],
        problem_id=str(fields["uid"]),
    )


ABOUT = About(
    questions=8052,
    metric="accuracy; only the questions with a public answer are asked, which users count as 4,018",
    hub=("zai-org/MotionBench",),
    checked=(
        "reader: records made to the official layout; a part of the videos comes from other datasets; which "
        "categories are temporal is our choice"
    ),
)
BENCHMARK = Benchmark(about=ABOUT, read=read, temporal=TEMPORAL)

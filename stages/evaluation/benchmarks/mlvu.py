"""MLVU: seven multiple-choice tasks on long videos."""

from collections.abc import Iterator
from pathlib import Path

from stages.data.sample import ProblemType, Reject, Sample
from stages.evaluation.benchmark_records import Fields, choice, read_benchmark
from stages.evaluation.definition import About, Benchmark, Profile

TASKS = frozenset({"plotQA", "needle", "ego", "count", "order", "anomaly_reco", "topic_reasoning"})


def read(root: Path) -> Iterator[Sample | Reject]:
    """The official `json/<n>_<task>.json` with `video/<n>_<task>/<video>`.

    The category is the task. The two tasks that a judge scores (8 and 9) are not read.
    """
    official = ("json/[1-7]_*.json", "MLVU/json/[1-7]_*.json")
    yield from read_benchmark(root, "mlvu", lambda fields: fields, _official, *official)


def group(category: str, problem_type: ProblemType, profile: Profile) -> tuple[str, ...]:
    """M-Avg, the mean of the tasks' accuracies; for Video-R1 the plain mean."""
    return (category,) if profile == "official" else ()


def _official(fields: Fields, file: Path) -> Fields:
    return choice(
        fields["question"],
        fields["candidates"],
        fields["answer"],
        f"video/{file.stem}/{fields['video']}",
        file.stem.partition("_")[2],
    )


ABOUT = About(
    questions=2174,
    metric="M-Avg: mean of seven task accuracies (development set); two open tasks need a judge and are not read",
    hub=("MLVU/MVLU",),
    checked=(
        "reader: four published records, and the layout that an evaluator reads; which tasks are temporal is our choice"
    ),
)
BENCHMARK = Benchmark(about=ABOUT, read=read, group=group, categories=TASKS, temporal=frozenset({"count", "order"}))

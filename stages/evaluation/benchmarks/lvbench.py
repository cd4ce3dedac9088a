"""LVBench: questions about videos of an hour and more."""

from collections.abc import Iterator
from pathlib import Path

from stages.data.sample import Reject, Sample
from stages.evaluation.benchmark_records import Fields, choice, nested_rows, read_benchmark, split_options
from stages.evaluation.definition import About, Benchmark


def read(root: Path) -> Iterator[Sample | Reject]:
    """The official `video_info.meta.jsonl` with `<key>.mp4` anywhere below.

    The category is the question's types, joined by `/`, because a question may have several; each type has its own
    figures.
    """
    file = "video_info.meta.jsonl"
    yield from read_benchmark(root, "lvbench", lambda fields: fields, _official, file, f"*/{file}", rows=nested_rows)


def _official(fields: Fields, file: Path) -> Fields:
    problem, options = split_options(fields["question"])
    return choice(
        problem,
        options,
        fields["answer"],
        f"{fields['key']}.mp4",
        "/".join(fields["question_type"]),
        problem_id=str(fields["uid"]),
    )


ABOUT = About(
    questions=1549,
    metric="accuracy, and that of each of six question types",
    hub=("zai-org/LVBench",),
    checked=(
        "reader: an official record, and others made to its layout; scorer: the official code reads bare letters; "
        "the videos are on YouTube alone"
    ),
)
BENCHMARK = Benchmark(about=ABOUT, read=read)

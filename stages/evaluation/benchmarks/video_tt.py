"""Video-TT: hard questions about short videos, as multiple choice."""

from collections.abc import Iterator
from pathlib import Path

from stages.data.sample import Reject, Sample
from stages.evaluation.benchmark_records import Fields, choice, read_benchmark, split_options
from stages.evaluation.definition import About, Benchmark

TEMPORAL = frozenset({"Displacement Attribute", "Event Duration & Speed Attribute"})


def read(root: Path) -> Iterator[Sample | Reject]:
    """The official `data/test-*` with `<video_id>.mp4` anywhere below.

    The category is the capability. The open questions lie in other files, which are not read.
    """
    yield from read_benchmark(root, "video_tt", lambda fields: fields, _official, "data/test-*", "test-*")


def _official(fields: Fields, file: Path) -> Fields:
    problem, options = split_options(fields["question"])
    return choice(problem, options, fields["answer"], f"{fields['video_id']}.mp4", fields["capability"])


ABOUT = About(
    questions=5000,
    metric="accuracy of the multiple-choice questions, one for each of 1,000 videos; the 4,000 open ones need a judge",
    hub=("lmms-lab/video-tt",),
    checked=(
        "reader: the fields that two evaluators read, and those of an open question of the same authors' challenge; "
        "no official multiple-choice record was seen; which categories are temporal is our choice, by their names"
    ),
)
BENCHMARK = Benchmark(about=ABOUT, read=read, temporal=TEMPORAL)

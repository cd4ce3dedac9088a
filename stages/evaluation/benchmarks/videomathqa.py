"""VideoMathQA: mathematics in teaching videos, five options each."""

from collections.abc import Iterator
from pathlib import Path

from stages.data.sample import Reject, Sample
from stages.evaluation.benchmark_records import Fields, choice, read_benchmark
from stages.evaluation.definition import About, Benchmark


def read(root: Path) -> Iterator[Sample | Reject]:
    """The official `videomathqa_mcq_test.parquet` with `videos/<videoID>.mp4`.

    The category is the field of mathematics.
    """
    file = "videomathqa_mcq_test*"
    yield from read_benchmark(root, "videomathqa", lambda fields: fields, _official, file, f"*/{file}")


def _official(fields: Fields, file: Path) -> Fields:
    return choice(
        fields["question"],
        fields["options"],
        fields["answer"],
        f"videos/{fields['videoID']}.mp4",
        fields["category"],
        problem_id=str(fields["question_id"]),
    )


ABOUT = About(
    questions=420,
    metric="accuracy of the five-option form, without subtitles; the steps of a thought need a judge",
    hub=("MBZUAI/VideoMathQA",),
    checked=(
        "reader: the file that the dataset's card names, and the fields that the official evaluator (lmms-eval) "
        "reads; no official record was seen"
    ),
)
BENCHMARK = Benchmark(about=ABOUT, read=read)

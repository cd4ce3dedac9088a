"""Video-MME without subtitles: multiple-choice questions on short, medium and long videos."""

from collections.abc import Iterator
from pathlib import Path

from stages.data.sample import Reject, Sample
from stages.evaluation.benchmark_records import Fields, choice, read_benchmark
from stages.evaluation.definition import About, Benchmark


def read(root: Path) -> Iterator[Sample | Reject]:
    """Video-R1's `eval_videomme.json`, or the official `videomme/test*` files with `data/<videoID>.mp4`.

    The category is the duration.
    """
    yield from read_benchmark(root, "videomme", _video_r1, _official, "videomme/test*")


def _video_r1(fields: Fields) -> Fields:
    return {**fields, "original_question_type": fields.get("duration") or fields.get("original_question_type") or ""}


def _official(fields: Fields, file: Path) -> Fields:
    return choice(
        fields["question"],
        list(fields["options"]),
        fields["answer"],
        f"data/{fields['videoID']}.mp4",
        fields["duration"],
        problem_id=fields["question_id"],
    )


ABOUT = About(
    questions=2700,
    metric="accuracy",
    hub=("lmms-lab/Video-MME",),
    checked="reader: records made to the official layout",
)
BENCHMARK = Benchmark(about=ABOUT, read=read)

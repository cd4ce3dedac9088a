"""Video-Holmes: questions on short suspense films, about clues from different scenes."""

from collections.abc import Iterator
from pathlib import Path

from stages.data.sample import Reject, Sample
from stages.evaluation.benchmark_records import Fields, choice, read_benchmark
from stages.evaluation.definition import About, Benchmark


def read(root: Path) -> Iterator[Sample | Reject]:
    """The official `test_Video-Holmes.json` with `videos_cropped/<video ID>.mp4`.

    The category is one of the seven question types.
    """
    yield from read_benchmark(root, "video_holmes", lambda fields: fields, _official, "test_Video-Holmes.json")


def _official(fields: Fields, file: Path) -> Fields:
    # The numbers of questions start again with each video.
    number = {"problem_id": f"{fields['video ID']}-{fields['Question ID']}"} if "Question ID" in fields else {}
    return choice(
        fields["Question"],
        [f"{letter}. {text}" for letter, text in fields["Options"].items() if text],
        fields["Answer"],
        f"videos_cropped/{fields['video ID']}.mp4",
        fields["Question Type"],
        **number,
    )


ABOUT = About(
    questions=1837,
    metric="accuracy",
    hub=("TencentARC/Video-Holmes",),
    checked="reader: records made to the official layout",
)
BENCHMARK = Benchmark(about=ABOUT, read=read)

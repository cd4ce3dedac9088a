"""VCR-Bench: questions in seven dimensions whose answers take several steps."""

from collections.abc import Iterator
from pathlib import Path

from stages.data.sample import Reject, Sample
from stages.evaluation.benchmark_records import Fields, choice, read_benchmark
from stages.evaluation.definition import About, Benchmark, Profile, score_answer

TEMPORAL = frozenset({"Fundamental Temporal Reasoning", "Temporal Spatial Reasoning", "Video Temporal Grounding"})


def read(root: Path) -> Iterator[Sample | Reject]:
    """The official `meta_info_video.json` with the videos anywhere below.

    The category is the dimension.
    """
    file = "meta_info_video.json"
    official = (f"v1/videos/{file}", file)
    yield from read_benchmark(root, "vcr_bench", lambda fields: fields, _official, *official)


def score(prediction: str | None, sample: Sample, profile: Profile) -> float | None:
    """The grader's score of a multiple-choice question, None for an open one.

    The benchmark gives the answers and the steps of a thought to a judge model.
    """
    return score_answer(prediction, sample, profile) if sample.problem_type == "multiple choice" else None


def _official(fields: Fields, file: Path) -> Fields:
    options = [f"{letter}. {text}" for letter, text in fields["choices"].items() if text]
    # The options stand in the question's text too, and the first one in the line of the question.
    problem = fields["question"].partition(options[0])[0].strip() if options else fields["question"]
    asked = choice(
        problem,
        options,
        str(fields["answer"]),
        fields["video_path"],
        fields["dimension"],
        problem_id=str(fields["id"]),
    )
    return asked if fields["multiple-choice"] else asked | {"problem_type": "free-form"}


ABOUT = About(
    questions=1034,
    metric="accuracy of 510 multiple-choice questions; 524 open ones and the CoT score of the steps need a judge",
    hub=("VLM-Reasoning/VCR-Bench",),
    checked=(
        "reader: records in the form of the four in the official repository; scorer: letters by rule, where the "
        "official code asks a judge; temporal dimensions by the paper's definitions"
    ),
)
BENCHMARK = Benchmark(about=ABOUT, read=read, score=score, temporal=TEMPORAL)

"""MMVU: expert-level questions over four disciplines.

The paper uses the multiple-choice questions only.
"""

from collections.abc import Iterator
from pathlib import Path

from stages.data.sample import Reject, Sample
from stages.evaluation.benchmark_records import Fields, read_benchmark
from stages.evaluation.definition import About, Benchmark, Profile, score_answer


def read(root: Path) -> Iterator[Sample | Reject]:
    """Video-R1's `eval_mmvu.json`, or the official `validation*` file with `videos/<subject>/<n>.mp4`.

    The category is the subject where the record says it; Video-R1's own file does not.
    """
    yield from read_benchmark(root, "mmvu", lambda fields: fields, _official, "validation*")


def score(prediction: str | None, sample: Sample, profile: Profile) -> float | None:
    """The grader's score of a multiple-choice question, None for an open one.

    The benchmark itself asks a judge model about every answer.
    """
    if sample.problem_type != "multiple choice":
        return None
    return score_answer(prediction, sample, profile)


def _official(fields: Fields, file: Path) -> Fields:
    options = [f"{letter}. {text}" for letter, text in (fields.get("choices") or {}).items() if text]
    return {
        "problem_id": fields["id"],
        "problem": fields["question"],
        "data_type": "video",
        "problem_type": "multiple choice" if fields["question_type"] == "multiple-choice" else "free-form",
        "options": options,
        "solution": str(fields["answer"]),
        # The field is a whole address on the hub in some releases.
        "path": "videos/" + fields["video"].rpartition("videos/")[2],
        "original_question_type": (fields.get("metadata") or {}).get("subject", ""),
    }


ABOUT = About(
    questions=1000,
    metric="accuracy of 625 multiple-choice questions; the 375 open ones need a judge",
    hub=("yale-nlp/MMVU",),
    checked="reader: records made to the official layout",
)
BENCHMARK = Benchmark(about=ABOUT, read=read, score=score)

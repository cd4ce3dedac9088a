"""VSI-Bench: spatial questions about videos of rooms.

Numeric answers are scored by mean relative accuracy (MRA).
"""

from collections.abc import Iterator
from pathlib import Path

from stages.data.sample import ProblemType, Reject, Sample
from stages.evaluation.benchmark_records import Fields, read_benchmark
from stages.evaluation.definition import About, Benchmark, Profile, relative_accuracy_official, score_answer

CATEGORIES = frozenset(
    {
        "obj_appearance_order",
        "object_abs_distance",
        "object_counting",
        "object_rel_direction_easy",
        "object_rel_direction_medium",
        "object_rel_direction_hard",
        "object_rel_distance",
        "object_size_estimation",
        "room_size_estimation",
        "route_planning",
    }
)


def read(root: Path) -> Iterator[Sample | Reject]:
    """Video-R1's `eval_vsibench.json`, or the official records with `<dataset>/<scene_name>.mp4`.

    The official records are `test.jsonl` or `test-*.parquet`. The debiased and pruned selections (`test_*`) of newer
    releases are not read.
    """
    yield from read_benchmark(root, "vsi_bench", lambda fields: fields, _official, "test[.-]*")


def score(prediction: str | None, sample: Sample, profile: Profile) -> float | None:
    """The score of the answer's first word; for Video-R1 the grader's score.

    Letters count in either case, numbers by MRA with `≤`.
    """
    if profile == "video-r1":
        return score_answer(prediction, sample, profile)
    word = first_word(prediction or "")
    if sample.problem_type == "multiple choice":
        return float(word.lower() == sample.answer.lower())
    return relative_accuracy_official(word, sample.answer)


def group(category: str, problem_type: ProblemType, profile: Profile) -> tuple[str, ...]:
    """The mean of 8 task types; Video-R1: (accuracy + MRA) / 2.

    Officially the three levels of `object_rel_direction` are averaged first.
    """
    if profile == "video-r1":
        return (problem_type,)
    return ("object_rel_direction" if category.startswith("object_rel_direction") else category, category)


def first_word(text: str) -> str:
    """An answer up to its first space, without a trailing dot.

    The benchmark's own scorer cuts it so.
    """
    return text.split(" ")[0].rstrip(".").strip()


def _official(fields: Fields, file: Path) -> Fields:
    options = fields["options"]
    return {
        "problem_id": fields["id"],
        "problem": fields["question"],
        "data_type": "video",
        "problem_type": "multiple choice" if options else "regression",
        "options": options,
        "solution": str(fields["ground_truth"]),
        "path": f"{fields['dataset']}/{fields['scene_name']}.mp4",
        "original_question_type": fields["question_type"],
    }


ABOUT = About(
    questions=5130,
    metric="mean of 8 task types: accuracy, and mean relative accuracy of numbers",
    hub=("nyu-visionx/VSI-Bench",),
    checked=(
        "scorer: 276 recorded relative accuracies; reader: every eighth record of Video-R1's file, and "
        "records made to the official layout"
    ),
)
BENCHMARK = Benchmark(about=ABOUT, read=read, score=score, group=group, categories=CATEGORIES)

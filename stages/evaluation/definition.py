"""A benchmark: its questions, its scoring, and its mean."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypedDict, get_args

import numpy as np

from stages.data.grading import Strictness, extract_answer, grade, parse_number
from stages.data.order import Order
from stages.data.sample import ProblemType, Reject, Sample
from stages.evaluation.statistics import Estimate

Profile = Literal["official", "video-r1"]
"""`official`: the benchmark's own scoring. `video-r1`: that of the paper's evaluation code, over the same answers."""

PROFILES: tuple[Profile, ...] = get_args(Profile)
STRICTNESS: dict[Profile, Strictness] = {"official": "default", "video-r1": "reference-code"}

Judging = Literal["answer", "caption", "check"]
"""What a judge does with an answer, where one is configured.

answer: it says whether the answer means the same as the right one. caption: it picks an option that the answer
describes, and that must be the right one. check: the rules score the answer, so the judge can be measured by it.
"""

# A class body cannot hold the key "video-r1".
Scores = TypedDict("Scores", {"official": float | None, "video-r1": float | None})
"""The score in [0, 1] in each profile, None where an answer is not scored."""


class ScoredRow(Scores):
    """What a metric needs to know of one answer."""

    sample_id: str
    order: Order
    category: str


def extract(text: str, profile: Profile) -> str | None:
    """The answer inside an output, None without one.

    The paper's evaluation code takes the whole output where it finds no answer in tags.
    """
    answer = extract_answer(text, STRICTNESS[profile])
    return answer or text if profile == "video-r1" else answer


def score_answer(prediction: str | None, sample: Sample, profile: Profile) -> float | None:
    """The score in [0, 1] of an extracted answer, by the grader.

    It is the score of a benchmark that has no scorer of its own. The paper's evaluation code scores regression
    questions by mean relative accuracy, and multiple choice and numbers as in training. Its files hold no other answer
    type.
    """
    if profile == "video-r1" and sample.problem_type == "regression":
        return relative_accuracy_video_r1(prediction, sample.answer)
    return grade(prediction, sample.answer, sample.problem_type, sample.options, STRICTNESS[profile])


def judged_if_open(prediction: str | None, sample: Sample) -> Judging | None:
    """A judge decides free-form questions; choices and numbers can check it."""
    match sample.problem_type:
        case "free-form":
            return "answer"
        case "multiple choice" | "numerical":
            return "check"
        case _:
            return None


def never_judged(prediction: str | None, sample: Sample) -> Judging | None:
    """No judge has anything to do with the benchmark."""
    return None


def plain_mean(category: str, problem_type: ProblemType, profile: Profile) -> tuple[str, ...]:
    """Every question weighs the same."""
    return ()


def no_figures(rows: Sequence[ScoredRow], profile: Profile) -> dict[str, Estimate]:
    """The benchmark has no further figures."""
    return {}


@dataclass(frozen=True)
class About:
    """What `--list` says of a benchmark.

    `questions` counts the official questions. `metric` is the official one. `hub` names the datasets on the Hugging
    Face hub, that with the records first. `checked` says what of the reader and the scorer was checked against what.
    """

    questions: int
    metric: str
    hub: tuple[str, ...]
    checked: str


@dataclass(frozen=True)
class Benchmark:
    """One benchmark.

    `read(root)` yields its questions with an empty `media_sha256`, or rejects. A question without its media is a
    reject.

    `score` gives an answer's score in [0, 1]. It gives None for a question that only a judge model could score; such a
    question is counted as not scored.

    `judged` says what a judge does with an answer in the official profile, None where it has nothing to do with it.
    The answer is None where the output holds none.

    `group` gives a question's path in nested means. The headline number is the mean over the first names of the mean
    over the second names, and so on, of the mean over questions.

    `categories` holds the categories that the official mean needs. It is empty where that mean needs none.

    `temporal` holds the categories that cannot be answered without the order of frames, `apart` those that are asked
    and that no mean includes.

    `finish(sample, pts_T, root)` completes a question when the times of its frames are known, in seconds from the first
    frame of the video.

    `figures(rows, profile)` gives the benchmark's further figures by name, from its prediction rows.

    `together(sample_id)` names the questions that are scored together, such as a pair. A sample of the benchmark holds
    all of them or none.
    """

    read: Callable[[Path], Iterator[Sample | Reject]]
    score: Callable[[str | None, Sample, Profile], float | None] = score_answer
    judged: Callable[[str | None, Sample], Judging | None] = judged_if_open
    group: Callable[[str, ProblemType, Profile], tuple[str, ...]] = plain_mean
    categories: frozenset[str] = frozenset()
    temporal: frozenset[str] = frozenset()
    apart: frozenset[str] = frozenset()
    finish: Callable[[Sample, np.ndarray, Path], Sample] | None = None
    figures: Callable[[Sequence[ScoredRow], Profile], dict[str, Estimate]] = no_figures
    together: Callable[[str], str] = str
    about: About | None = None

    def lacks_category(self, category: str) -> bool:
        """Whether the official mean needs another category than this one."""
        return bool(self.categories) and category not in self.categories | self.apart


def relative_accuracy_official(prediction: str | None, answer: str) -> float:
    """VSI-Bench's mean relative accuracy.

    The share of θ in 0.50, 0.55 … 0.95 with |prediction − answer| / answer ≤ 1 − θ. A text that Python's `float`
    refuses scores 0, also "1,000". The expression is the benchmark's own, because its rounding decides at the
    thresholds.
    """
    target = _bare_number(answer)
    try:
        predicted = float(prediction or "")
    except ValueError:
        return 0.0
    if not target:
        return 0.0
    return float(np.mean(abs(predicted - target) / target <= 1 - np.linspace(0.5, 0.95, 10)))


def relative_accuracy_video_r1(prediction: str | None, answer: str) -> float:
    """Mean relative accuracy as the paper's evaluation code computes it.

    It compares by `<`, in float32, and relative to |answer| + 1e-8.
    """
    predicted, target = _bare_number(prediction), _bare_number(answer)
    if predicted is None or target is None:
        return 0.0
    error = np.abs(np.float32(predicted) - np.float32(target)) / (np.abs(np.float32(target)) + np.float32(1e-8))
    thresholds = np.arange(0.5, 0.95 + 0.05 / 2, 0.05).astype(np.float32)
    return float(np.mean(error < np.float32(1) - thresholds, dtype=np.float32))


def _bare_number(text: str | None) -> float | None:
    return parse_number(text, "reference-code") if text else None

"""What a benchmark is: where its questions come from, how one answer is scored, and how scores become the headline number."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from stages.data.grading import Strictness, extract_answer, grade, parse_number
from stages.data.sample import ProblemType, Reject, Sample
from stages.evaluation.statistics import Estimate

Profile = Literal["official", "video-r1"]
"""`official`: the benchmark's own rules. `video-r1`: those of the paper's evaluation code, over the same generations."""

PROFILES: tuple[Profile, ...] = get_args(Profile)
EXTRACTION: dict[Profile, Strictness] = {"official": "default", "video-r1": "reference-code"}


def extract(text: str, profile: Profile) -> str | None:
    """The answer inside an output. The paper's evaluation code takes the whole output for one that has none in tags."""
    answer = extract_answer(text, EXTRACTION[profile])
    return answer or text if profile == "video-r1" else answer


def score_answer(prediction: str | None, sample: Sample, profile: Profile) -> float | None:
    """The score in [0, 1] of an extracted answer where the benchmark has no rule of its own: the grader, by answer type.

    The paper's evaluation code scores regression questions by mean relative accuracy, multiple choice and numbers as in training; the
    other types, which its files do not hold, as in training here.
    """
    if profile == "video-r1" and sample.problem_type == "regression":
        return relative_accuracy_video_r1(prediction, sample.answer)
    return grade(prediction, sample.answer, sample.problem_type, EXTRACTION[profile])


def plain_mean(category: str, problem_type: ProblemType, profile: Profile) -> tuple[str, ...]:
    """Every question weighs the same."""
    return ()


@dataclass(frozen=True)
class Benchmark:
    """One benchmark.

    `read(root)` yields its questions, their `media_sha256` still empty, or rejects (missing media are named, never dropped).
    `score` is None for what only a judge model could decide: such a question is counted as not scored, never guessed.
    `group` gives a question's path in nested means: the headline number is the mean over the first names of the mean over the
    second ones … of the mean over questions. `temporal` holds the categories that cannot be answered without the order of frames,
    `apart` those that are asked but stay out of every mean. `finish(sample, pts_T, root)` completes a question once the times of its
    frames are known (seconds from the first frame of the video). `figures(rows, profile)` are further numbers of the benchmark's own,
    by name, from its prediction rows.
    """

    read: Callable[[Path], Iterator[Sample | Reject]]
    score: Callable[[str | None, Sample, Profile], float | None] = score_answer
    group: Callable[[str, ProblemType, Profile], tuple[str, ...]] = plain_mean
    temporal: frozenset[str] = frozenset()
    apart: frozenset[str] = frozenset()
    finish: Callable[[Sample, np.ndarray, Path], Sample] | None = None
    figures: Callable[[Sequence[Mapping[str, Any]], Profile], dict[str, Estimate]] = lambda rows, profile: {}


def relative_accuracy_official(prediction: str | None, answer: str) -> float:
    """VSI-Bench's mean relative accuracy: the share of θ in 0.50, 0.55 … 0.95 with |prediction − answer| / answer ≤ 1 − θ.

    What Python does not read as a number scores 0, "1,000" too. The float expression is the benchmark's own: at the thresholds its
    rounding decides.
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
    """Mean relative accuracy as in the paper's evaluation code: strictly less, in float32, relative to |answer| + 1e-8."""
    predicted, target = _bare_number(prediction), _bare_number(answer)
    if predicted is None or target is None:
        return 0.0
    error = np.abs(np.float32(predicted) - np.float32(target)) / (np.abs(np.float32(target)) + np.float32(1e-8))
    thresholds = np.arange(0.5, 0.95 + 0.05 / 2, 0.05).astype(np.float32)
    return float(np.mean(error < np.float32(1) - thresholds, dtype=np.float32))


def _bare_number(text: str | None) -> float | None:
    return parse_number(text, "reference-code") if text else None

"""The figures of each step, and whole rollouts for the report."""

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias, cast

from torch import Tensor

from stages.data.rollouts import RolloutRow
from stages.rl.grading import GradedGroup, GradedResponse, Grades
from stages.rl.questions import Contrast
from stages.rl.rewards import RewardParams, Rewards, zero_variance
from stages.rl.temporal import Temporal, correct_share

Figure = Literal[
    "step", "loss", "reward", "accuracy", "format", "temporal", "length", "condition_rate", "p", "p_contrast",
    "temporal_effect", "zero_variance", "resampled", "skipped", "truncated", "completion_tokens", "kl", "entropy",
    "grad_norm", "learning_rate", "sampling_logp_difference", "sampling_kl", "likelihood_gain", "answer_gain",
    "thought_gain", "answers_change", "looks", "frames_named",
]  # fmt: skip
StepRow: TypeAlias = Mapping[Figure, float]


def step_rows(log_history: Sequence[Mapping[str, float]]) -> list[StepRow]:
    """The rows of Trainer's log that stand for one step each."""
    return [cast(StepRow, row) for row in log_history if "reward" in row]


def rollout_metrics(grades: Grades, rewards: Rewards, params: RewardParams) -> dict[Figure, float]:
    """Means of one rollout.

    p, p̃ (`p_contrast`) and the condition rate are means over the questions with a contrast group, NaN where there is
    none. So are the gains at the steps that measure them. `looks` is the share of responses that name two different
    frames or times, `frames_named` the mean number of mentions: reciting frames would raise it.
    """
    has_B = grades.has_contrast_B
    return {
        "reward": float(rewards.total_BG.mean()),
        "accuracy": float(rewards.accuracy_BG.mean()),
        "format": float(rewards.format_BG.mean()),
        "temporal": float(rewards.temporal_BG.mean()),
        "length": float(rewards.length_BG.mean()),
        "condition_rate": float(rewards.condition_B[has_B].float().mean()),
        "p": float(correct_share(grades.accuracy_BG[has_B], params.correct_above).mean()),
        "p_contrast": float(correct_share(grades.contrast_BK[has_B], params.correct_above).mean()),
        "zero_variance": float(zero_variance(rewards.total_BG).float().mean()),
        "truncated": float(grades.truncated_BG.float().mean()),
        "completion_tokens": float(grades.lengths_BG.float().mean()),
        "likelihood_gain": float(grades.likelihood_BG[has_B].mean()),
        "answer_gain": float(grades.answer_BG[has_B].mean()),
        "thought_gain": float(grades.thought_BG[has_B].mean()),
        "looks": float(grades.looks_BG.float().mean()),
        "frames_named": float(grades.mentions_BG.float().mean()),
    }


def rollout_rows(
    step: int, graded: GradedGroup, rewards: Rewards, advantages_BG: Tensor, contrast: Contrast, mode: Temporal
) -> list[RolloutRow]:
    """The first group of a batch as rows, ordered responses first."""
    sample_id = graded.group.question.sample.sample_id

    def _row(order: str, response: GradedResponse) -> RolloutRow:
        return {
            "sample_id": sample_id,
            "step": step,
            "order": order,
            "text": response.completion.text,
            "answer": response.answer,
            "accuracy": response.accuracy,
            "format": None,
            "temporal": None,
            "length": None,
            "advantage": None,
            "gain": None,
        }

    gains = graded.thoughts if mode.compares == "thoughts" else [gain.likelihood for gain in graded.gains]
    ordered = [_row("ordered", response) for response in graded.ordered]
    for g, each in enumerate(ordered):
        each["format"] = float(rewards.format_BG[0, g])
        each["temporal"] = float(rewards.temporal_BG[0, g])
        each["length"] = float(rewards.length_BG[0, g])
        each["advantage"] = float(advantages_BG[0, g])
        each["gain"] = gains[g] if gains else None
    return ordered + [_row(contrast, response) for response in graded.contrast]

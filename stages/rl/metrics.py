"""What a run shows: one row of figures per step, and whole rollouts for the report."""

from collections.abc import Sequence

from torch import Tensor

from stages.data.grading import Strictness, extract_answer
from stages.data.rollouts import RolloutRow
from stages.rl.rewards import RewardParams, Rewards, correct_share, zero_variance
from stages.rl.rollout import Contrast, Grades, Group, accuracy


def steps(log_history: Sequence[dict[str, float]]) -> list[dict[str, float]]:
    """The rows of Trainer's log that stand for one step each."""
    return [row for row in log_history if "reward" in row]


def rollout_metrics(grades: Grades, rewards: Rewards, rules: RewardParams) -> dict[str, float]:
    """Means of one rollout; p, p̃ (`p_contrast`) and the condition rate over questions with a contrast group, NaN without any."""
    has_B = grades.has_contrast_B
    total_BG = rewards.base_BG + rewards.temporal_BG
    return {
        "reward": float(total_BG.mean()),
        "accuracy": float(rewards.accuracy_BG.mean()),
        "format": float(rewards.format_BG.mean()),
        "temporal": float(rewards.temporal_BG.mean()),
        "length": float(rewards.length_BG.mean()),
        "condition_rate": float(rewards.condition_B[has_B].float().mean()),
        "p": float(correct_share(grades.accuracy_BG[has_B], rules.correct_above).mean()),
        "p_contrast": float(correct_share(grades.contrast_BK[has_B], rules.correct_above).mean()),
        "zero_variance": float(zero_variance(total_BG).float().mean()),
        "truncated": float(grades.truncated_BG.float().mean()),
        "completion_tokens": float(grades.lengths_BG.float().mean()),
    }


def rollout_rows(
    step: int, group: Group, rewards: Rewards, advantages_BG: Tensor, contrast: Contrast, rules: Strictness
) -> list[RolloutRow]:
    """One group as rows for the report, ordered responses first; contrast responses have no reward but their accuracy."""
    rows: list[RolloutRow] = []
    for g, response in enumerate(group.ordered):
        rows.append(
            {
                "sample_id": group.question.sample.sample_id,
                "step": step,
                "order": "ordered",
                "text": response.text,
                "answer": extract_answer(response.text, rules),
                "accuracy": float(rewards.accuracy_BG[0, g]),
                "format": float(rewards.format_BG[0, g]),
                "temporal": float(rewards.temporal_BG[0, g]),
                "length": float(rewards.length_BG[0, g]),
                "advantage": float(advantages_BG[0, g]),
            }
        )
    for response in group.contrast:
        rows.append(
            {
                "sample_id": group.question.sample.sample_id,
                "step": step,
                "order": contrast,
                "text": response.text,
                "answer": extract_answer(response.text, rules),
                "accuracy": accuracy(group, response, rules),
                "format": None,
                "temporal": None,
                "length": None,
                "advantage": None,
            }
        )
    return rows

"""The figures of one benchmark."""

from stages.evaluation.predictions import Status
from stages.reporting.comparison import AnswerCounts, compare_models, like_with_like
from tests.evaluation.toy import TOY, scored_row
from tests.reporting.test_findings import toy_rows


def test_failed_requests_are_counted_apart_from_questions_without_an_answer() -> None:
    counts: dict[Status, int] = {"error": 4, "no_answer": 12, "truncated": 24}
    statuses: list[Status] = [status for status, count in counts.items() for _ in range(count)]
    rows = toy_rows(2, 1)
    for row, status in zip(rows, statuses, strict=False):
        row["status"] = status
    found = compare_models("toy", {"sft": rows}, 100, 0, TOY, "official")
    assert found.answer_counts == [AnswerCounts("SFT", failed=4, answered=96, no_answer=12, truncated=24)]


def test_a_score_is_compared_with_another_order_on_the_same_questions_only() -> None:
    # Two videos, one right in order; both wrong shuffled. An image is right, and an answer to a third video failed.
    rows = [
        scored_row("v1", official=1.0),
        scored_row("v1", "shuffled"),
        scored_row("v2", official=0.0),
        scored_row("v2", "shuffled"),
        scored_row("image", official=1.0, n_frames=1),
        scored_row("v3", official=1.0),
        scored_row("v3", "shuffled", official=None, status="error"),
    ]
    [scores] = compare_models("toy", {"sft": rows}, 4, 0, TOY, "official").slices["All questions"]
    assert scores is not None
    assert (scores.ordered.value, scores.ordered.n) == (0.75, 4)
    assert (scores.compared.value, scores.compared.n) == (0.5, 2)
    assert scores.others["shuffled"].score.value == 0
    assert scores.others["shuffled"].gap.value == scores.compared.value
    assert {row["sample_id"] for row in like_with_like(rows, "official")} == {"v1", "v2"}


def test_without_another_order_the_score_in_order_is_compared_with_nothing() -> None:
    rows = [scored_row("v1", official=1.0), scored_row("v2", official=0.0)]
    [scores] = compare_models("toy", {"sft": rows}, 2, 0, TOY, "official").slices["All questions"]
    assert scores is not None
    assert (scores.compared, scores.others) == (scores.ordered, {})

"""The figures of one benchmark."""

from stages.evaluation.predictions import Status
from stages.reporting.comparison import AnswerCounts, compare_models
from tests.evaluation.toy import TOY
from tests.reporting.test_findings import toy_rows


def test_failed_requests_are_counted_apart_from_questions_without_an_answer() -> None:
    counts: dict[Status, int] = {"error": 4, "no_answer": 12, "truncated": 24}
    statuses: list[Status] = [status for status, count in counts.items() for _ in range(count)]
    rows = toy_rows(2, 1)
    for row, status in zip(rows, statuses, strict=False):
        row["status"] = status
    found = compare_models("toy", {"sft": rows}, 100, 0, TOY, "official")
    assert found.answer_counts == [AnswerCounts("SFT", 4, 12 / 96, 24 / 96)]

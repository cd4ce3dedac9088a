"""The figures of one benchmark."""

from stages.reporting.comparison import AnswerCounts, compare_models
from tests.reporting.test_findings import TOY, toy_rows


def test_failed_requests_are_counted_apart_from_questions_without_an_answer() -> None:
    rows = [row | {"n_frames": 8, "width": 28, "height": 28} for row in toy_rows(2, 1)]
    statuses = ["error"] * 4 + ["no_answer"] * 12 + ["truncated"] * 24
    rows = [row | {"status": status} for row, status in zip(rows, statuses, strict=False)] + rows[len(statuses) :]
    found = compare_models("toy", {"sft": rows}, 100, 0, TOY, "official")
    assert found.answer_counts == [AnswerCounts("SFT", 4, 12 / 96, 24 / 96)]

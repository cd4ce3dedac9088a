"""The report's sentences say no more than the intervals allow."""

import pytest

from stages.evaluation.definition import Benchmark
from stages.evaluation.predictions import PredictionRow, Status
from stages.evaluation.statistics import Estimate
from stages.reporting.findings import Outcome, compare_models, points, sentences, signed
from stages.video.order import Order
from tests.evaluation.toy import scored_row

TOY = Benchmark(read=lambda root: iter(()), temporal=frozenset({"order"}))


def test_a_real_gain_and_gap_are_called_so() -> None:
    told = " ".join(sentences({"sft": _rows(50, 30), "tgrpo": _rows(90, 40)}, TOY, "official"))
    assert "On 100 questions that need the order of frames, T-GRPO scores 90.0 %" in told
    assert "against 50.0 % for SFT." in told
    assert "+40.0 points" in told
    assert "p < 0.001" in told
    assert "a gain." in told
    assert "a gap of +50.0 points" in told
    assert "rests on what happens when" in told


def test_a_loss_is_called_a_loss() -> None:
    assert "a loss." in " ".join(sentences({"sft": _rows(90, 40), "tgrpo": _rows(50, 30)}, TOY, "official"))


def test_a_difference_within_chance_is_not_called_a_gain() -> None:
    told = " ".join(sentences({"sft": _rows(50, 30), "tgrpo": _rows(52, 30)}, TOY, "official"))
    assert "chance alone could explain" in told
    assert "a gain" not in told


def test_without_a_gap_no_use_of_order_is_claimed() -> None:
    told = " ".join(sentences({"tgrpo": _rows(50, 50)}, TOY, "official"))
    assert "do not show that T-GRPO uses the order of frames" in told
    assert "rests on" not in told


def test_three_questions_show_nothing_even_if_shuffling_loses_all() -> None:
    told = " ".join(sentences({"tgrpo": [row for row in _rows(3, 0) if row["sample_id"] < "q003"]}, TOY, "official"))
    assert "a gap of +100.0 points (−10.1 to +100.0), p = 0.250 (McNemar)" in told
    assert "do not show that T-GRPO uses the order of frames" in told


def test_a_model_without_answers_is_said_to_have_none() -> None:
    (told,) = sentences({"sft": _rows(5, 5), "tgrpo": []}, TOY, "official")
    assert "nothing can be said" in told


def test_failed_requests_are_counted_apart_from_questions_without_an_answer() -> None:
    counts: dict[Status, int] = {"error": 4, "no_answer": 12, "truncated": 24}
    statuses: list[Status] = [status for status, count in counts.items() for _ in range(count)]
    rows = _rows(2, 1)
    for row, status in zip(rows, statuses, strict=False):
        row["status"] = status
    found = compare_models("toy", {"sft": rows}, 100, 0, TOY, "official")
    assert found.outcomes == [Outcome("SFT", 4, 12 / 96, 24 / 96)]


@pytest.mark.parametrize(("share", "text"), [(0.123, "+12.3"), (-0.05, "−5.0"), (0.0001, "0.0"), (-0.0001, "0.0")])
def test_differences_carry_a_sign_unless_they_are_zero(share: float, text: str) -> None:
    assert signed(share) == text


def test_points_show_value_and_interval() -> None:
    assert points(Estimate(0.1, -0.02, 0.22, 50)) == "+10.0 points (−2.0 to +22.0)"


def _rows(right: int, right_shuffled: int) -> list[PredictionRow]:
    """100 temporal questions: the first so many are right."""
    counts: dict[Order, int] = {"ordered": right, "shuffled": right_shuffled}
    return [
        scored_row(f"q{index:03d}", order, float(index < count))
        for order, count in counts.items()
        for index in range(100)
    ]

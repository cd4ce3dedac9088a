"""The report's sentences say no more than the intervals allow."""

from stages.evaluation.predictions import PredictionRow
from stages.reporting.findings import sentences
from stages.video.order import Order
from tests.evaluation.toy import TOY, scored_row


def test_a_real_gain_and_gap_are_called_so() -> None:
    told = " ".join(sentences({"sft": toy_rows(50, 30), "tgrpo": toy_rows(90, 40)}, TOY, "official"))
    assert (
        "T-GRPO scores 90.0 % (82.6 to 94.5) on 100 questions that need the order of frames; SFT scores 50.0 %." in told
    )
    assert "+40.0 points" in told
    assert "p < 0.001" in told
    assert "This is a gain" in told
    assert "The gap is +50.0 points" in told
    assert "This part of the score needs the order of frames." in told


def test_a_loss_is_called_a_loss() -> None:
    assert "This is a loss" in " ".join(
        sentences({"sft": toy_rows(90, 40), "tgrpo": toy_rows(50, 30)}, TOY, "official")
    )


def test_a_difference_within_chance_is_not_called_a_gain() -> None:
    told = " ".join(sentences({"sft": toy_rows(50, 30), "tgrpo": toy_rows(52, 30)}, TOY, "official"))
    assert "Chance alone could explain it." in told
    assert "a gain" not in told


def test_without_a_gap_no_use_of_order_is_claimed() -> None:
    told = " ".join(sentences({"tgrpo": toy_rows(50, 50)}, TOY, "official"))
    assert "do not show that T-GRPO uses the order of frames" in told
    assert "needs the order" not in told


def test_three_questions_show_nothing_even_if_shuffling_loses_all() -> None:
    told = " ".join(sentences({"tgrpo": [row for row in toy_rows(3, 0) if row["sample_id"] < "q003"]}, TOY, "official"))
    assert "The gap is +100.0 points (−10.1 to +100.0), p = 0.250 (McNemar's test)." in told
    assert "do not show that T-GRPO uses the order of frames" in told


def test_a_model_without_answers_is_said_to_have_none() -> None:
    (told,) = sentences({"sft": toy_rows(5, 5), "tgrpo": []}, TOY, "official")
    assert "can say nothing" in told


def toy_rows(right: int, right_shuffled: int) -> list[PredictionRow]:
    """100 temporal questions: the first so many are right."""
    counts: dict[Order, int] = {"ordered": right, "shuffled": right_shuffled}
    return [
        scored_row(f"q{index:03d}", order, float(index < count))
        for order, count in counts.items()
        for index in range(100)
    ]

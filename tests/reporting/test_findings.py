"""The report's sentences say no more than the intervals allow."""

from stages.data.order import Order
from stages.evaluation.definition import Benchmark, Profile
from stages.evaluation.predictions import PredictionRow
from stages.reporting.findings import base_note, find, page_title, plain_grpo_note
from tests.evaluation.toy import TOY, scored_row


def test_a_real_gain_and_gap_are_called_so() -> None:
    told = " ".join(sentences_of({"sft": toy_rows(50, 30), "tgrpo": toy_rows(90, 40)}, TOY, "official"))
    assert "T-GRPO scores 90.0 % (82.6 to 94.5) on 100 questions that need the order of frames (SFT: 50.0 %)." in told
    assert "+40.0 points" in told
    assert "p < 0.001" in told
    assert "This is a gain" in told
    assert "The gap is +50.0 points" in told
    assert "This part of the score needs the order of frames." in told


def test_a_loss_is_called_a_loss() -> None:
    assert "This is a loss" in " ".join(
        sentences_of({"sft": toy_rows(90, 40), "tgrpo": toy_rows(50, 30)}, TOY, "official")
    )


def test_a_difference_within_chance_is_not_called_a_gain() -> None:
    told = " ".join(sentences_of({"sft": toy_rows(50, 30), "tgrpo": toy_rows(52, 30)}, TOY, "official"))
    assert "Chance alone could explain it." in told
    assert "a gain" not in told


def test_without_a_gap_no_use_of_order_is_claimed() -> None:
    told = " ".join(sentences_of({"tgrpo": toy_rows(50, 50)}, TOY, "official"))
    assert "do not show that T-GRPO uses the order of frames" in told
    assert "needs the order" not in told


def test_three_questions_show_nothing_even_if_shuffling_loses_all() -> None:
    told = " ".join(
        sentences_of({"tgrpo": [row for row in toy_rows(3, 0) if row["sample_id"] < "q003"]}, TOY, "official")
    )
    assert "The gap is +100.0 points (−10.1 to +100.0), p = 0.250 (McNemar's test)." in told
    assert "do not show that T-GRPO uses the order of frames" in told


def test_a_model_without_answers_is_said_to_have_none() -> None:
    (told,) = sentences_of({"sft": toy_rows(5, 5), "tgrpo": []}, TOY, "official")
    assert "can say nothing" in told


def test_both_scores_stand_beside_a_gap_of_questions_that_do_not_need_the_order() -> None:
    counts: dict[Order, int] = {"ordered": 20, "shuffled": 19}
    static = [
        scored_row(f"s{index:02d}", order, float(index < count), category="colour")
        for order, count in counts.items()
        for index in range(20)
    ]
    told = " ".join(sentences_of({"tgrpo": [*toy_rows(90, 40), *static]}, TOY, "official"))
    assert "On 20 video questions that do not need the order, T-GRPO scores 100.0 % (83.9 to 100.0) in order" in told
    assert "and 95.0 % (76.4 to 99.1) shuffled. The gap is +5.0 points" in told
    assert told.endswith("Chance alone could explain it.")


def test_what_the_frames_add_is_said_where_questions_were_asked_without_them() -> None:
    told = " ".join(sentences_of({"tgrpo": [*toy_rows(90, 40), *_blind_rows(30)]}, TOY, "official"))
    assert "Without any frame, T-GRPO scores 30.0 % (21.9 to 39.6) on the same 100 questions." in told
    assert "The frames add +60.0 points" in told
    told = " ".join(sentences_of({"tgrpo": [*toy_rows(90, 40), *_blind_rows(90)]}, TOY, "official"))
    assert "these figures do not show that the frames add anything" in told


def test_questions_without_every_order_are_left_out_of_the_gap() -> None:
    images = [scored_row(f"i{index}", official=1.0) for index in range(10)]
    told = " ".join(sentences_of({"tgrpo": [*toy_rows(90, 40), *images]}, TOY, "official"))
    assert "T-GRPO scores 90.9 % (84.1 to 95.0) on 110 questions" in told
    assert "On the 100 of them that were asked in every order, T-GRPO scores 90.0 %" in told


def test_the_title_claims_what_was_found_and_names_plain_grpo_on_the_embedded_questions() -> None:
    rows = {"sft": toy_rows(50, 30), "tgrpo": toy_rows(90, 40)}
    found, models = find(rows, TOY, "official"), ("sft", "tgrpo")
    assert page_title(models, ["shapes"], [found]) == (
        "T-GRPO gains on SFT and uses the order of frames; plain GRPO does as well"
    )
    assert page_title(models, ["mvbench"], [found]) == "T-GRPO gains on SFT and uses the order of frames"
    nothing = find({"sft": toy_rows(50, 50), "tgrpo": toy_rows(50, 50)}, TOY, "official")
    assert page_title(models, ["shapes"], [nothing]) == "T-GRPO on shapes: no gain and no use of order is shown"
    assert page_title(models, ["shapes", "mvbench"], [found, nothing]) == "T-GRPO on 2 benchmarks"
    assert "plain GRPO does as well as T-GRPO" in plain_grpo_note(models, ["shapes"])
    assert plain_grpo_note(("base", "sft"), ["shapes"]) == plain_grpo_note(models, ["mvbench"]) == ""


def test_only_the_embedded_base_model_has_a_note() -> None:
    assert "learned to see, but not to write" in base_note({"base": {"model": "embedded"}})
    assert base_note({"base": {"model": "Qwen/Qwen2.5-VL-7B-Instruct"}}) == base_note({}) == ""


def sentences_of(predictions: dict[str, list[PredictionRow]], benchmark: Benchmark, profile: Profile) -> list[str]:
    return find(predictions, benchmark, profile).sentences


def toy_rows(right: int, right_shuffled: int) -> list[PredictionRow]:
    """100 temporal questions: the first so many are right."""
    counts: dict[Order, int] = {"ordered": right, "shuffled": right_shuffled}
    return [
        scored_row(f"q{index:03d}", order, float(index < count))
        for order, count in counts.items()
        for index in range(100)
    ]


def _blind_rows(right: int) -> list[PredictionRow]:
    """The same questions without frames."""
    return [scored_row(f"q{index:03d}", "blind", float(index < right), n_frames=0) for index in range(100)]

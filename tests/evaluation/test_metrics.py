"""From rows to metrics: a small table worked by hand."""

import pytest

from stages.data.grading import MAX_ANSWER
from stages.data.order import Order
from stages.evaluation.definition import Benchmark
from stages.evaluation.metrics import compare, gap, summarise
from stages.evaluation.predictions import prediction_row
from tests.evaluation.toy import TOY, scored_row, toy_output, toy_row, toy_sample

ORDERS: tuple[Order, ...] = ("ordered", "shuffled")


def test_metrics_of_a_table_worked_by_hand() -> None:
    # Three temporal questions: 2 right in order, 1 shuffled. Two static ones: 2 right in order, 1 shuffled. One error,
    # one never answered.
    ordered = {"t1": 1, "t2": 1, "t3": 0, "s1": 1, "s2": 1}
    shuffled = {"t1": 1, "t2": 0, "t3": 0, "s1": 1, "s2": 0}
    rows = [toy_row(name, "ordered", score) for name, score in ordered.items()]
    rows += [toy_row(name, "shuffled", score) for name, score in shuffled.items()]
    rows.append(prediction_row(toy_sample("t4"), toy_output("t4", text="", status="error"), TOY))
    summary = summarise(rows, 7, TOY, "official")
    assert (summary.n, summary.n_missing, summary.n_not_scored) == (5, 2, 0)
    assert summary.headline["accuracy"] == pytest.approx(4 / 5)
    assert summary.headline["temporal"] == pytest.approx(2 / 3)
    assert summary.headline["static"] == pytest.approx(1)
    assert summary.headline["temporal_shuffled"] == pytest.approx(1 / 3)
    assert summary.headline["temporal_shuffled_gap"] == pytest.approx(1 / 3)
    assert summary.headline["accuracy_shuffled_gap"] == pytest.approx(2 / 5)
    assert (
        summary.shares["well_formed"],
        summary.shares["no_answer"],
        summary.shares["truncated"],
        summary.shares["tokens"],
    ) == (1, 0, 0, 7)
    entries = {(entry["profile"], entry["order"], entry["by"], entry["slice"]): entry for entry in summary.scores}
    assert entries["official", "ordered", "category", "order"]["value"] == pytest.approx(2 / 3)
    assert entries["video-r1", "shuffled", "all", "static"]["n"] == 2
    assert entries["official", "ordered", "problem_type", "multiple choice"]["n"] == 5
    gaps = {(entry["profile"], entry["order"], entry["by"], entry["slice"]): entry for entry in summary.gaps}
    by_type = gaps["official", "shuffled", "category", "colour"]  # right in order: both; shuffled: one
    assert (by_type["value"], by_type["n"]) == (pytest.approx(0.5), 2)
    assert by_type["low"] <= 0.5 <= by_type["high"]
    assert gaps["official", "shuffled", "all", "temporal"]["value"] == pytest.approx(
        summary.headline["temporal_shuffled_gap"]
    )
    assert summary.shown == "8 frames of 48×48"


def test_each_order_has_its_own_gap() -> None:
    right: dict[Order, int] = {"ordered": 3, "shuffled": 1, "reversed": 2, "single-frame": 0, "blind": 1}
    rows = [toy_row(f"t{index}", order, int(index < count)) for order, count in right.items() for index in range(4)]
    summary = summarise(rows, 4, TOY, "official")
    assert [
        summary.headline[f"accuracy_{order}_gap"] for order in ("shuffled", "reversed", "single-frame", "blind")
    ] == pytest.approx([0.5, 0.25, 0.75, 0.5])
    assert {entry["order"] for entry in summary.gaps} == {"shuffled", "reversed", "single-frame", "blind"}
    assert (summary.few()["blind"], summary.headline["accuracy_blind_gap"]) == (0.25, 0.5)


def test_categories_set_apart_have_scores_of_their_own_and_no_part_in_the_mean() -> None:
    toy = Benchmark(read=lambda root: iter(()), apart=frozenset({"colour"}))
    rows = [toy_row("t1", "ordered", 1), toy_row("t2", "ordered", 1), toy_row("s1", "ordered", 0)]
    summary = summarise(rows, 4, toy, "official")
    assert (summary.headline["accuracy"], summary.n, summary.n_missing) == (1, 2, 1)
    assert [entry["value"] for entry in summary.scores if entry["slice"] == "colour"] == [0, 0]


def test_a_category_in_parts_has_numbers_for_each_part_and_so_has_an_official_group() -> None:
    scores = {"yes_no/order": 1.0, "yes_no/speed": 0.0, "caption_matching/order": 0.0}
    rows = [
        scored_row(f"t{index}", official=score, video_r1=score, category=category)
        for index, (category, score) in enumerate(scores.items())
    ]
    grouped = Benchmark(read=lambda root: iter(()), group=lambda category, problem_type, profile: ("timely", category))
    found = {
        entry["slice"]: entry for entry in summarise(rows, 3, grouped, "official").scores if entry["by"] == "category"
    }
    parts = {
        "yes_no": (0.5, 2),
        "order": (0.5, 2),
        "caption_matching": (0, 1),
        "speed": (0, 1),
        "timely": (pytest.approx(1 / 3), 3),
    }
    assert {name: (entry["value"], entry["n"]) for name, entry in found.items()} == parts | {
        category: (score, 1) for category, score in scores.items()
    }


def test_the_gap_compares_the_same_questions_only() -> None:
    # the image s9 is right in order and has no shuffled row: it must not widen the gap
    rows = [toy_row("t1", "ordered", 1), toy_row("t2", "ordered", 0), toy_row("s9", "ordered", 1)]
    rows += [toy_row("t1", "shuffled", 0), toy_row("t2", "shuffled", 0)]
    found = gap(rows, "shuffled", TOY, "official")
    assert found is not None
    assert (found.value, found.n) == (pytest.approx(0.5), 2)
    assert gap(rows, "reversed", TOY, "official") is None


def test_two_models_are_compared_on_their_common_questions() -> None:
    first = [toy_row(f"t{index}", "ordered", 1) for index in range(8)] + [toy_row("only-first", "ordered", 0)]
    second = [toy_row(f"t{index}", "ordered", 0) for index in range(8)] + [toy_row("only-second", "ordered", 1)]
    found = compare(first, second, TOY, "official")
    assert found is not None
    difference, p = found
    assert (difference.value, difference.n) == (pytest.approx(1.0), 8)
    assert p == pytest.approx(2 / 2**8)
    assert compare(first, [toy_row("elsewhere", "ordered", 1)], TOY, "official") is None


def test_the_order_of_rows_does_not_change_the_metrics() -> None:
    rows = [toy_row(f"t{index}", order, index % 2) for index in range(6) for order in ORDERS]
    assert summarise(rows, 6, TOY, "official") == summarise(rows[::-1], 6, TOY, "official")


def test_questions_only_a_judge_could_score_are_counted_apart() -> None:
    judged = Benchmark(read=lambda root: iter(()), score=lambda prediction, sample, profile: None)
    rows = [prediction_row(toy_sample(category=""), toy_output(), judged)]
    summary = summarise(rows, 1, judged, "official")
    assert (summary.n, summary.n_missing, summary.n_not_scored) == (0, 0, 1)
    assert "accuracy" not in summary.headline


def test_answers_that_name_no_option_and_answers_that_are_too_long_are_counted() -> None:
    answers = ["B", "left", "a red ball", "A or B", "", "B. " + "long " * MAX_ANSWER]
    outputs = [toy_output(f"t{number}", text=f"<answer>{answer}</answer>") for number, answer in enumerate(answers)]
    rows = [prediction_row(toy_sample(output["sample_id"]), output, TOY) for output in outputs]
    assert [row["option"] for row in rows] == ["B", "A", None, None, None, "B"]
    shares = summarise(rows, 6, TOY, "official").shares
    assert (shares["no_answer"], shares["no_option"], shares["graded_in_part"]) == (1 / 6, 2 / 6, 1 / 6)

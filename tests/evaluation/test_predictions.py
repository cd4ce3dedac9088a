"""From outputs to scored rows, and from rows to metrics: a small table worked by hand."""

from pathlib import Path
from typing import Any

import pytest

from stages.data.sample import Sample
from stages.evaluation.definition import Benchmark
from stages.evaluation.predictions import compare, gap, prediction_row, summarise

TOY = Benchmark(read=lambda root: iter(()), temporal=frozenset({"order"}))


@pytest.mark.parametrize(
    ("text", "status", "expected"),
    [
        ("<think>t</think>\n<answer>B</answer>", "ok", ("ok", "B", 1.0, True)),
        ("<think>t</think> no answer", "ok", ("no_answer", None, 0.0, False)),
        ("<think>t</think><answer> </answer>", "ok", ("no_answer", "", 0.0, True)),
        ("<think>on and on", "truncated", ("truncated", None, 0.0, False)),
        ("<answer>A</answer> wait <answer>(B)</answer>", "ok", ("ok", "(B)", 1.0, False)),
        ("", "error", ("error", None, None, False)),
    ],
)
def test_an_output_becomes_a_row_with_status_answer_score_and_form(
    text: str, status: str, expected: tuple[Any, ...]
) -> None:
    row = prediction_row(_sample("q", "order"), _output("q", text=text, status=status), TOY)
    assert (row["status"], row["prediction"], row["official"], row["well_formed"]) == expected


def test_both_profiles_score_the_same_generation_each_by_its_rules() -> None:
    row = prediction_row(_sample("q", "order"), _output("q", text="<answer>A</answer><answer>B.</answer>"), TOY)
    assert row["official"] == 1.0
    assert row["video-r1"] == 0.0


def test_the_papers_code_takes_an_output_without_tags_for_the_answer_itself() -> None:
    row = prediction_row(_sample("q", "order"), _output("q", text="B"), TOY)
    assert (row["status"], row["official"], row["video-r1"]) == ("no_answer", 0.0, 1.0)


def test_metrics_of_a_table_worked_by_hand() -> None:
    # three temporal questions (2 right in order, 1 shuffled), two static (2 right in order, 1 shuffled), one error, one never answered
    ordered = {"t1": 1, "t2": 1, "t3": 0, "s1": 1, "s2": 1}
    shuffled = {"t1": 1, "t2": 0, "t3": 0, "s1": 1, "s2": 0}
    rows = [_row(name, "ordered", score) for name, score in ordered.items()]
    rows += [_row(name, "shuffled", score) for name, score in shuffled.items()]
    rows.append(prediction_row(_sample("t4", "order"), _output("t4", text="", status="error"), TOY))
    metrics = summarise(rows, 7, TOY, "official")
    assert (metrics["n"], metrics["n_missing"], metrics["n_not_scored"]) == (5, 2, 0)
    assert metrics["accuracy"] == pytest.approx(4 / 5)
    assert metrics["temporal"] == pytest.approx(2 / 3)
    assert metrics["static"] == pytest.approx(1)
    assert metrics["temporal_shuffled"] == pytest.approx(1 / 3)
    assert metrics["temporal_shuffled_gap"] == pytest.approx(1 / 3)
    assert metrics["accuracy_shuffled_gap"] == pytest.approx(2 / 5)
    assert (metrics["well_formed"], metrics["no_answer"], metrics["truncated"], metrics["tokens"]) == (1, 0, 0, 7)
    entries = {(entry["profile"], entry["order"], entry["by"], entry["slice"]): entry for entry in metrics["scores"]}
    assert entries["official", "ordered", "category", "order"]["value"] == pytest.approx(2 / 3)
    assert entries["video-r1", "shuffled", "all", "static"]["n"] == 2
    assert entries["official", "ordered", "problem_type", "multiple choice"]["n"] == 5
    gaps = {(entry["profile"], entry["order"], entry["by"], entry["slice"]): entry for entry in metrics["gaps"]}
    by_type = gaps["official", "shuffled", "category", "colour"]  # right in order: both; shuffled: one
    assert (by_type["value"], by_type["n"]) == (pytest.approx(0.5), 2)
    assert by_type["low"] <= 0.5 <= by_type["high"]
    assert gaps["official", "shuffled", "all", "temporal"]["value"] == pytest.approx(metrics["temporal_shuffled_gap"])
    assert metrics["shown"] == "8 frames of 48×48"


def test_each_order_has_its_own_gap() -> None:
    right = {"ordered": 3, "shuffled": 1, "reversed": 2, "single-frame": 0}
    rows = [_row(f"t{index}", order, int(index < count)) for order, count in right.items() for index in range(4)]
    metrics = summarise(rows, 4, TOY, "official")
    assert [metrics[f"accuracy_{order}_gap"] for order in ("shuffled", "reversed", "single-frame")] == pytest.approx(
        [0.5, 0.25, 0.75]
    )
    assert {entry["order"] for entry in metrics["gaps"]} == {"shuffled", "reversed", "single-frame"}


def test_categories_set_apart_have_scores_of_their_own_and_no_part_in_the_mean() -> None:
    toy = Benchmark(read=lambda root: iter(()), apart=frozenset({"colour"}))
    rows = [_row("t1", "ordered", 1), _row("t2", "ordered", 1), _row("s1", "ordered", 0)]
    metrics = summarise(rows, 4, toy, "official")
    assert (metrics["accuracy"], metrics["n"], metrics["n_missing"]) == (1, 2, 1)
    assert [entry["value"] for entry in metrics["scores"] if entry["slice"] == "colour"] == [0, 0]


def test_a_category_in_parts_has_numbers_for_each_part_and_so_has_an_official_group() -> None:
    scores = {"yes_no/order": 1, "yes_no/speed": 0, "caption_matching/order": 0}
    rows = [
        _row(f"t{index}", "ordered", score) | {"category": category}
        for index, (category, score) in enumerate(scores.items())
    ]
    grouped = Benchmark(read=lambda root: iter(()), group=lambda category, problem_type, profile: ("timely", category))
    found = {
        entry["slice"]: entry
        for entry in summarise(rows, 3, grouped, "official")["scores"]
        if entry["by"] == "category"
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
    rows = [_row("t1", "ordered", 1), _row("t2", "ordered", 0), _row("s9", "ordered", 1)]
    rows += [_row("t1", "shuffled", 0), _row("t2", "shuffled", 0)]
    found = gap(rows, "shuffled", TOY, "official")
    assert found is not None
    assert (found.value, found.n) == (pytest.approx(0.5), 2)
    assert gap(rows, "reversed", TOY, "official") is None


def test_two_models_are_compared_on_their_common_questions() -> None:
    first = [_row(f"t{index}", "ordered", 1) for index in range(8)] + [_row("only-first", "ordered", 0)]
    second = [_row(f"t{index}", "ordered", 0) for index in range(8)] + [_row("only-second", "ordered", 1)]
    found = compare(first, second, TOY, "official")
    assert found is not None
    difference, p = found
    assert (difference.value, difference.n) == (pytest.approx(1.0), 8)
    assert p == pytest.approx(2 / 2**8)
    assert compare(first, [_row("elsewhere", "ordered", 1)], TOY, "official") is None


def test_the_order_of_rows_does_not_change_the_metrics() -> None:
    rows = [_row(f"t{index}", order, index % 2) for index in range(6) for order in ("ordered", "shuffled")]
    assert summarise(rows, 6, TOY, "official") == summarise(rows[::-1], 6, TOY, "official")


def test_questions_only_a_judge_could_score_are_counted_apart(tmp_path: Path) -> None:
    judged = Benchmark(read=lambda root: iter(()), score=lambda prediction, sample, profile: None)
    rows = [prediction_row(_sample("q", ""), _output("q"), judged)]
    metrics = summarise(rows, 1, judged, "official")
    assert (metrics["n"], metrics["n_missing"], metrics["n_not_scored"]) == (0, 0, 1)
    assert "accuracy" not in metrics


def _row(sample_id: str, order: str, score: int) -> dict[str, Any]:
    category = "order" if sample_id.startswith("t") else "colour"
    text = f"<think>t</think><answer>{'B' if score else 'A'}</answer>"
    return prediction_row(_sample(sample_id, category), _output(sample_id, order=order, text=text), TOY)


def _output(
    sample_id: str, order: str = "ordered", text: str = "<answer>B</answer>", status: str = "ok"
) -> dict[str, Any]:
    size = {"tokens": 7, "frame_order": list(range(8)), "n_frames": 8, "width": 48, "height": 48, "detail": ""}
    return {"sample_id": sample_id, "order": order, "text": text, "status": status} | size


def _sample(sample_id: str, category: str) -> Sample:
    return Sample(
        sample_id=sample_id,
        source="toy",
        data_type="video",
        problem_type="multiple choice",
        problem="Which?",
        options=("A. left", "B. right"),
        answer="B",
        media_path="m",
        media_sha256="0",
        category=category,
    )

"""From outputs to scored rows."""

from pathlib import Path

import pytest

from stages.data.outputs import OutputStatus
from stages.evaluation.predictions import (
    PREDICTION_SCHEMA,
    Status,
    graded_answer,
    prediction_row,
    read_predictions,
)
from stages.run.errors import UserError
from stages.run.files import write_table
from tests.evaluation.toy import TOY, toy_output, toy_row, toy_sample


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
    text: str, status: OutputStatus, expected: tuple[Status, str | None, float | None, bool]
) -> None:
    row = prediction_row(toy_sample(), toy_output(text=text, status=status), TOY)
    assert (row["status"], row["prediction"], row["official"], row["well_formed"]) == expected


def test_both_profiles_score_the_same_generation_each_by_its_rules() -> None:
    row = prediction_row(toy_sample(), toy_output(text="<answer>A</answer><answer>B.</answer>"), TOY)
    assert row["official"] == 1.0
    assert row["video-r1"] == 0.0


def test_the_papers_code_takes_an_output_without_tags_for_the_answer_itself() -> None:
    row = prediction_row(toy_sample(), toy_output(text="B"), TOY)
    assert (row["status"], row["official"], row["video-r1"]) == ("no_answer", 0.0, 1.0)


def test_the_graded_answer_is_that_of_the_profile() -> None:
    row = prediction_row(toy_sample(), toy_output(text="<answer>A</answer><answer>B</answer>"), TOY)
    assert (graded_answer(row, "official"), graded_answer(row, "video-r1")) == ("B", "A")
    untagged = prediction_row(toy_sample(), toy_output(text="it is B"), TOY)
    assert (graded_answer(untagged, "official"), graded_answer(untagged, "video-r1")) == (None, "it is B")


def test_rows_come_back_from_their_table(tmp_path: Path) -> None:
    rows = [toy_row("t1", "ordered", 1), toy_row("s1", "shuffled", 0)]
    write_table(tmp_path / "predictions.parquet", rows, PREDICTION_SCHEMA)
    assert read_predictions(tmp_path / "predictions.parquet") == rows
    with pytest.raises(UserError, match=r"nowhere\.parquet: cannot be read as predictions"):
        read_predictions(tmp_path / "nowhere.parquet")

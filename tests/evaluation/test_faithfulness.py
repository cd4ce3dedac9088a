"""Which thoughts are exchanged, and the figures that come of it."""

from pathlib import Path

import pytest

from stages.data.order import Order
from stages.evaluation.faithfulness import (
    faithfulness,
    faithfulness_text,
    read_faithfulness,
    thoughts_to_exchange,
    with_faithfulness,
)
from stages.evaluation.predictions import PREDICTION_SCHEMA, PredictionRow, read_predictions
from stages.run.files import write_table
from tests.evaluation.toy import TOY, scored_row

LOOKS = "<think>frame 1 left, frame 3 right, so it moves right.</think><answer>B</answer>"
GLANCES = "<think>frame 1 left, so it moves right.</think><answer>B</answer>"


def said(sample_id: str, order: Order, text: str, category: str = "order", n_frames: int = 8) -> PredictionRow:
    return {**scored_row(sample_id, order, category=category, n_frames=n_frames), "text": text}


ROWS = [
    said("looks", "ordered", LOOKS),
    said("looks", "shuffled", GLANCES),
    said("open", "ordered", "<think>frame 1, frame 2"),
    said("open", "shuffled", LOOKS),
    said("static", "ordered", LOOKS, category="colour"),
    said("static", "shuffled", LOOKS, category="colour"),
    said("image", "ordered", LOOKS, n_frames=1),
    said("glances", "ordered", GLANCES),
    said("glances", "shuffled", LOOKS),
    {**said("failed", "ordered", LOOKS), "status": "error"},
]


def test_thoughts_are_exchanged_where_both_are_closed_and_the_question_needs_the_order() -> None:
    assert thoughts_to_exchange(ROWS, TOY, 9, 0) == [("glances", GLANCES, LOOKS), ("looks", LOOKS, GLANCES)]
    assert len(thoughts_to_exchange(ROWS, TOY, 1, 0)) == 1


def test_the_figures_are_shares_of_exchanged_thoughts_and_of_answers_about_videos_in_order() -> None:
    found = faithfulness(ROWS, TOY, [True, False, True, True])
    assert (found["answers_change"].value, found["answers_change"].n) == (0.75, 4)
    assert (found["looks"].value, found["looks"].n) == (pytest.approx(2 / 3), 3)  # looks, open; not: glances
    assert "75.0% [" in faithfulness_text(found)
    assert list(faithfulness(ROWS, TOY, [])) == ["looks"]


def test_the_table_keeps_them_beside_its_rows_and_a_table_without_them_is_as_before(tmp_path: Path) -> None:
    found = faithfulness(ROWS, TOY, [True])
    write_table(tmp_path / "with.parquet", ROWS, with_faithfulness(PREDICTION_SCHEMA, found))
    assert read_faithfulness(tmp_path / "with.parquet") == found
    assert len(read_predictions(tmp_path / "with.parquet")) == len(ROWS)
    write_table(tmp_path / "without.parquet", ROWS, PREDICTION_SCHEMA)
    assert with_faithfulness(PREDICTION_SCHEMA, {}) is PREDICTION_SCHEMA
    assert read_faithfulness(tmp_path / "without.parquet") == {}

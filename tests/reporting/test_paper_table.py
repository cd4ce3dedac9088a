"""The paper's scores beside the measured scores."""

import pytest

from stages.evaluation.benchmarks import names
from stages.evaluation.predictions import PredictionRow
from stages.evaluation.published import COLUMNS, ROWS
from stages.reporting.paper_table import Measured, Run, paper_table
from tests.evaluation.toy import scored_row


def test_only_benchmarks_of_the_paper_that_were_evaluated_are_columns() -> None:
    embedded = Run("SFT", "shapes", 8, _rows([1.0]), 0)
    assert paper_table([embedded]) is None
    table = paper_table([Run("SFT", "mmvu", 16, _rows([1.0]), 0), embedded])
    assert table is not None
    assert table.benchmarks == ["mmvu"]
    assert [(line.model, line.frames, line.cells) for line in table.published][:2] == [
        ("GPT-4o", None, [75.4]),
        ("Qwen2.5-VL-7B, chain of thought", 16, [59.2]),
    ]


def test_a_cell_holds_the_papers_score_the_frames_decoded_and_what_is_missing() -> None:
    failed = scored_row("failed", video_r1=None, category="Art", status="error", n_frames=16, size=(448, 252))
    runs = [
        Run("SFT", "mvbench", 16, [*_rows([1.0, 0.0]), failed], 2),
        Run("T-GRPO", "mvbench", 32, _rows([1.0, 1.0]), 0),
        Run("T-GRPO", "mmvu", 16, _rows([0.0]), 0),
    ]
    table = paper_table(runs)
    assert table is not None
    assert [(line.model, line.frames) for line in table.measured] == [("SFT", 16), ("T-GRPO", 32), ("T-GRPO", 16)]
    _, cell = table.measured[0].cells
    assert isinstance(cell, Measured)
    assert cell.score is not None
    assert (cell.score.value, cell.score.n, cell.shown, cell.n_missing) == (
        pytest.approx(0.5),
        2,
        "12–16 frames of 448×252",
        3,
    )
    assert table.measured[1].cells[0] is None  # MMVU was not asked with 32 frames


def test_each_published_row_has_a_cell_per_column_and_the_columns_are_benchmarks() -> None:
    assert {len(row.scores) for row in ROWS} == {len(COLUMNS)}
    assert set(COLUMNS) <= set(names())


def _rows(scores: list[float]) -> list[PredictionRow]:
    return [
        scored_row(f"q{index}", video_r1=score, category="Art", n_frames=16 - 4 * index, size=(448, 252))
        for index, score in enumerate(scores)
    ]

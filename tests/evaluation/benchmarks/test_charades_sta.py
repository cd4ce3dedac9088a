"""Charades-STA: lines, spans and their overlap."""

from pathlib import Path

import pytest

from stages.data.sample import Reject, Sample
from stages.evaluation.benchmarks import charades_sta
from tests.evaluation.toy import scored_row

LINE = "AO8RW 0.0 6.9##a person is putting a book on a shelf."


def test_the_official_lines_are_read_and_a_line_of_another_form_is_a_reject(tmp_path: Path) -> None:
    (tmp_path / "charades_sta_test.txt").write_text(f"{LINE}\n\nno span here\n")
    (tmp_path / "Charades_v1_480").mkdir()
    (tmp_path / "Charades_v1_480" / "AO8RW.mp4").touch()
    sample, reject = charades_sta.read(tmp_path)
    assert isinstance(sample, Sample)
    assert '"a person is putting a book on a shelf."' in sample.problem
    assert (sample.problem_type, sample.answer) == ("free-form", "0.0 - 6.9")
    assert charades_sta.score("0 to 6.9 seconds", sample, "official") == 1
    assert isinstance(reject, Reject)
    assert (reject.reason, reject.detail) == ("invalid record", "no `video start end##query`: no span here")


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("3.5 - 12", (3.5, 12.0)),
        ("from 3 s to 4 s", (3.0, 4.0)),
        ("00:03 - 01:02.5", (3.0, 62.5)),
        ("1:00:01 to 1:00:02", (3601.0, 3602.0)),
        ("4 - 3", None),
        ("at 4", None),
        ("1, 2 or 3", None),
        ("", None),
    ],
)
def test_a_span_is_two_times_in_order(text: str, span: tuple[float, float] | None) -> None:
    assert charades_sta.parse_span(text) == span


def test_recall_is_the_share_of_answers_that_overlap_enough() -> None:
    rows = [scored_row(f"q{index}", official=overlap) for index, overlap in enumerate((1.0, 0.7, 0.5, 0.1))]
    found = charades_sta.figures([*rows, scored_row("q9", "shuffled", 1.0)], "official")
    assert {name: each.value for name, each in found.items()} == {"R@0.3": 0.75, "R@0.5": 0.75, "R@0.7": 0.5}
    assert charades_sta.figures([], "official") == {}

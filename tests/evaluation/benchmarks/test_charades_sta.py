"""Charades-STA: its lines."""

from pathlib import Path

from stages.data.sample import Reject, Sample
from stages.evaluation.benchmarks import charades_sta

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

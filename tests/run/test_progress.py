import sys

import pytest

from stages.run.progress import progress_bar


def test_a_program_that_asks_for_lines_gets_whole_ones(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDEO_R1_PROGRESS", "progress")
    bar = progress_bar(total=10, initial=4, unit="step")
    sys.stderr.write("the log goes on\n")
    bar.set_postfix_str("loss=0.3", refresh=False)
    bar.update(6)
    bar.close()
    first, second, third, *rest = capsys.readouterr().err.split("\n")
    assert first == "progress: 4/10 step, ? left, 00:00 elapsed"
    assert second == "the log goes on"
    assert third.startswith("progress: 10/10 step, 00:0")
    assert third.endswith(" elapsed, loss=0.3")
    assert set(rest) == {""}


def test_when_nobody_watches_nothing_is_written(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VIDEO_R1_PROGRESS", raising=False)
    assert list(progress_bar("abc", unit="letter")) == ["a", "b", "c"]
    assert capsys.readouterr().err == ""


def test_of_several_processes_one_shows_the_bar(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDEO_R1_PROGRESS", "progress")
    assert list(progress_bar("abc", unit="letter", hidden=True)) == ["a", "b", "c"]
    assert capsys.readouterr().err == ""

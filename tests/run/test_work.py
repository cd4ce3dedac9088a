"""Work folders: which run finds its own state again."""

import logging
from pathlib import Path

import pytest

from stages.run import code, work
from stages.run.errors import UserError
from stages.run.params import Params
from stages.run.work import mark_finished, resume_note, work_dir


class ToyParams(Params):
    learning_rate: float = 1.0


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an input, and a file of code."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(work, "_claimed", [])
    for name in ("RESUME", "FRESH"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_text("1")
    (tmp_path / "code.py").write_text("x = 1")
    monkeypatch.setattr(work, "loaded_files", lambda: [tmp_path / "code.py"])
    return tmp_path / "code.py"


def start() -> Path:
    return work_dir("sft", ToyParams(), [Path("in")])


def test_the_same_run_finds_its_folder_and_one_with_other_parameters_or_inputs_does_not(tmp_path: Path) -> None:
    first = start()
    assert first.is_dir()
    assert start() == first
    assert work_dir("sft", ToyParams(learning_rate=2.0), [Path("in")]) != first
    (tmp_path / "in" / "a").write_text("2")
    assert start() != first


def test_an_unfinished_run_stops_after_a_change_of_code_and_names_the_file_and_two_ways_on(module: Path) -> None:
    first = start()
    (first / "checkpoint").touch()
    module.write_text("x = 2")
    with pytest.raises(UserError, match=rf"{first} holds an unfinished run.*: {module}\. .*RESUME=1.*FRESH=1"):
        start()
    module.write_text("x = 1")
    assert start() == first


def test_a_run_that_has_written_nothing_yet_stops_nobody(module: Path) -> None:
    first = start()
    module.write_text("x = 2")
    assert start() != first


def test_resume_goes_on_and_the_metrics_say_over_which_change(module: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = start()
    assert resume_note(first) == {}
    module.write_text("x = 2")
    monkeypatch.setenv("RESUME", "1")
    assert start() == first
    monkeypatch.delenv("RESUME")
    assert start() == first  # killed once more: the code is the one of the last part
    assert resume_note(first) == {"resumed_with_changed": [str(module)]}


def test_fresh_starts_over_beside_the_old_run_and_says_where_that_is(
    module: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first = start()
    (first / "checkpoint").write_bytes(bytes(1000))
    module.write_text("x = 2")
    monkeypatch.setenv("FRESH", "1")
    with caplog.at_level(logging.INFO):
        second = start()
    assert second not in (first, None)
    assert "1 earlier runs keep" in caplog.text
    assert start() == second  # a kill of the new run: it goes on
    assert resume_note(second) == {}


def test_after_a_finished_run_a_change_of_code_starts_over_in_silence(module: Path) -> None:
    first = start()
    mark_finished()
    module.write_text("x = 2")
    second = start()
    assert second != first
    (second / "checkpoint").touch()
    module.write_text("x = 3")
    with pytest.raises(UserError, match="holds an unfinished run"):
        start()


def test_a_finished_run_that_starts_again_is_unfinished(module: Path) -> None:
    first = start()
    mark_finished()
    assert start() == first
    (first / "checkpoint").touch()
    module.write_text("x = 2")
    with pytest.raises(UserError, match="holds an unfinished run"):
        start()


def test_another_process_of_the_run_takes_the_same_folder_and_writes_nothing(
    module: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "IS_FIRST_PROCESS", False)
    early = start()
    assert not early.exists()
    monkeypatch.setattr(work, "IS_FIRST_PROCESS", True)
    assert start() == early


def test_plumbing_is_no_code_that_decides_a_result() -> None:
    names = {str(file.relative_to(code.ROOT)) for file in code.loaded_files()}
    assert "stages/run/work.py" not in names
    assert "stages/run/params.py" not in names

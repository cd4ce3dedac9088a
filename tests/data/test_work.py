"""The fingerprint of a run: what must find its own state again, and what must not."""

from pathlib import Path

import pytest

from stages.data.params import Params
from stages.data.work import work_dir


class ToyParams(Params):
    learning_rate: float = 1.0


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_text("1")


def test_the_same_run_finds_its_folder_and_another_does_not(tmp_path: Path) -> None:
    first = work_dir("sft", ToyParams(), [Path("in")], ["stages/data/work.py"])
    assert first.is_dir()
    assert work_dir("sft", ToyParams(), [Path("in")], ["stages/data/work.py"]) == first
    assert work_dir("sft", ToyParams(learning_rate=2.0), [Path("in")], ["stages/data/work.py"]) != first
    assert work_dir("sft", ToyParams(), [Path("in")], ["stages/data/files.py"]) != first
    (tmp_path / "in" / "a").write_text("2")
    assert work_dir("sft", ToyParams(), [Path("in")], ["stages/data/work.py"]) != first

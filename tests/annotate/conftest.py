"""Fixtures of the annotation tests."""

from pathlib import Path

import pytest

from stages.chat import pauses


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pauses, "LONGEST_BACKOFF", 0.05)

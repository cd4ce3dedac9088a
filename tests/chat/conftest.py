"""Fixtures of the chat tests."""

import pytest

from stages.chat import failures


@pytest.fixture(autouse=True)
def _short_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "LONGEST_BACKOFF", 0.05)

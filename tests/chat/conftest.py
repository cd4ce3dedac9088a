"""Fixtures of the chat tests."""

import pytest

from stages.chat import pauses


@pytest.fixture(autouse=True)
def _short_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pauses, "LONGEST_BACKOFF", 0.05)

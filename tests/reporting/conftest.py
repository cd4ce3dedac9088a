"""What several tests of the report read frames from."""

from pathlib import Path

import pytest

from stages.run.files import write_table
from stages.video.frame_store import FRAME_KEYS_SCHEMA, FrameReader


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FrameReader:
    """A store without frames; strips stay empty."""
    write_table(tmp_path / "frames.parquet", [], FRAME_KEYS_SCHEMA)
    monkeypatch.setattr("stages.reporting.gallery.frame_strip", lambda reader, sample_id, order=None: [])
    return FrameReader(tmp_path / "frames", tmp_path / "frames.parquet")

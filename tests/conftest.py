"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def testdata() -> Path:
    """The folder of real clips, records and golden scores, which is not part of the project."""
    folder = Path(os.environ.get("VIDEO_R1_TESTDATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real test data at {folder}: set VIDEO_R1_TESTDATA")
    return folder

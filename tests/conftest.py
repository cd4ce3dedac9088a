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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With `--dist loadgroup` the flows' tests, which wait for servers, run beside all others, which compute."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group("flows" if item.path.is_relative_to(ROOT / "tests" / "flows") else "stages"))

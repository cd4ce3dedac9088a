"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def testdata() -> Path:
    """The folder of real clips, records and golden scores.

    The folder is not part of the project.
    """
    folder = Path(os.environ.get("VIDEO_R1_TESTDATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real test data at {folder}: set VIDEO_R1_TESTDATA")
    return folder


def finished_run() -> Path:
    """The folder named by VIDEO_R1_RUN, in which `dvc repro` has run."""
    folder = os.environ.get("VIDEO_R1_RUN")
    if folder is None:
        pytest.skip("VIDEO_R1_RUN names no folder in which `dvc repro` has run")
    return Path(folder)


@pytest.fixture(scope="session")
def qwen2_5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny random Qwen2.5-VL."""
    from tests.model.tiny_models import write_qwen2_5  # torch is loaded where a test wants a model

    return write_qwen2_5(tmp_path_factory.mktemp("models") / "qwen2_5")


@pytest.fixture(scope="session")
def qwen3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny random Qwen3-VL."""
    from tests.model.tiny_models import write_qwen3

    return write_qwen3(tmp_path_factory.mktemp("models") / "qwen3")


@pytest.fixture(params=["qwen2_5", "qwen3"])
def model_dir(request: pytest.FixtureRequest) -> Path:
    """One folder after the other."""
    return request.getfixturevalue(request.param)

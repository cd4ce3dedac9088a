"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest

from stages.model.families import FAMILIES
from tests.root import ROOT


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
    return write_model("qwen2_5_vl", tmp_path_factory)


@pytest.fixture(scope="session")
def qwen3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny random Qwen3-VL."""
    return write_model("qwen3_vl", tmp_path_factory)


@pytest.fixture(scope="session", params=FAMILIES)
def model_dir(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny random model, of one family after the other."""
    return write_model(request.param, tmp_path_factory)


def write_model(family: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new folder of a tiny random model."""
    from tests.model.tiny_models import WRITERS  # torch is loaded where a test wants a model

    return WRITERS[family](tmp_path_factory.mktemp("models") / family)

from pathlib import Path

import pytest

from tests.video.clips import make_clips


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of numbered clips, made once."""
    return make_clips(tmp_path_factory.mktemp("clips"))

"""Model folders of both families, written once per session."""

import pytest

from tests.model.tiny_models import write_qwen2_5, write_qwen3


@pytest.fixture(scope="session")
def qwen2_5(tmp_path_factory):
    return write_qwen2_5(tmp_path_factory.mktemp("models") / "qwen2_5")


@pytest.fixture(scope="session")
def qwen3(tmp_path_factory):
    return write_qwen3(tmp_path_factory.mktemp("models") / "qwen3")


@pytest.fixture(params=["qwen2_5", "qwen3"])
def model_dir(request):
    return request.getfixturevalue(request.param)

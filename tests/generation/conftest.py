"""A tiny model of each family, its prompt builder, and prompts."""

from pathlib import Path

import pytest
from transformers.modeling_utils import PreTrainedModel

from stages.model.inputs import Prompt, PromptBuilder
from stages.model.load import load_model
from tests.model.tiny_models import clip, picture, question


@pytest.fixture
def model(model_dir: Path) -> PreTrainedModel:
    """A random model."""
    return load_model(model_dir)


@pytest.fixture
def builder(model_dir: Path) -> PromptBuilder:
    """Its prompt builder."""
    return PromptBuilder(model_dir)


@pytest.fixture
def prompts(builder: PromptBuilder) -> list[Prompt]:
    """Two videos around an image."""
    long = question("clip-2", problem="Which way does it move, and how far from the left does it end?")
    return [
        builder(question(), clip(frames=6)),
        builder(question("picture-1", data_type="image"), picture()),
        builder(long, clip(frames=4, seed=3)),
    ]

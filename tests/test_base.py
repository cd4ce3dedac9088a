"""The base stage: the embedded model, or a pointer."""

from pathlib import Path

import pytest

from stages.base import BaseParams, run
from stages.model.load import load_model, resolve
from stages.run.errors import UserError
from stages.run.files import read_json
from tests.model.tiny_models import write_qwen2_5


@pytest.mark.slow
def test_the_embedded_model_is_the_same_bytes_every_time_and_another_with_another_seed(tmp_path: Path) -> None:
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        run(BaseParams(align_steps=2, align_clips=2, seed=seed), tmp_path / name, tmp_path / f"{name}.json")
    folders = [
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("one", "two", "three")
    ]
    assert folders[0] == folders[1]
    assert folders[0]["model.safetensors"] != folders[2]["model.safetensors"]
    metrics = read_json(tmp_path / "one.json")
    assert metrics["parameters"] == load_model(tmp_path / "one").num_parameters()
    assert set(metrics["align"]) == {"colour", "shape", "row", "column"}


def test_a_folder_is_pointed_to_and_not_copied(tmp_path: Path) -> None:
    source = write_qwen2_5(tmp_path / "source")
    run(BaseParams(model=str(source), prompt="video-r1"), tmp_path / "base", tmp_path / "base.json")
    assert [path.name for path in (tmp_path / "base").iterdir()] == ["pipeline.json"]
    assert resolve(tmp_path / "base").folder == source
    assert resolve(tmp_path / "base").prompt == "video-r1"
    assert read_json(tmp_path / "base.json") == {"model": str(source), "revision": None}


def test_a_model_that_is_nowhere_is_an_error_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="'no/such-model' is neither a folder nor found on the hub"):
        run(BaseParams(model="no/such-model"), tmp_path / "base", tmp_path / "base.json")

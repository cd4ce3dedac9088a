"""Model folders: pointers and refusals."""

from pathlib import Path

import pytest
import torch
from transformers.models.auto.configuration_auto import AutoConfig

from stages.model.families import FAMILIES
from stages.model.inputs import PromptBuilder
from stages.model.load import load_model, load_tokenizer, resolve
from stages.model.save import save_model
from stages.run.errors import UserError
from stages.run.files import write_json


def test_a_pointer_is_followed(qwen2_5: Path, tmp_path: Path) -> None:
    write_json(tmp_path / "base" / "pipeline.json", {"model": str(qwen2_5), "revision": None, "prompt": "video-r1"})
    source = resolve(tmp_path / "base")
    assert (source.folder, source.prompt) == (qwen2_5, "video-r1")
    assert load_model(tmp_path / "base").num_parameters() == load_model(qwen2_5).num_parameters()


def test_a_folder_without_pipeline_file_is_asked_in_the_papers_words(tmp_path: Path) -> None:
    assert resolve(tmp_path).prompt == "video-r1"


def test_precision_is_that_of_the_weights(qwen2_5: Path) -> None:
    assert load_model(qwen2_5, "bf16").dtype == torch.bfloat16
    assert load_model(qwen2_5).dtype == torch.float32


def test_the_template_with_media_wins_over_the_tokenizers_own(qwen2_5: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    save_model(load_model(qwen2_5), resolve(qwen2_5), out)
    write_json(out / "chat_template.json", {"chat_template": "with media"})
    assert load_tokenizer(out).chat_template == "with media"


def test_what_cannot_be_loaded_is_named_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such model folder"):
        load_model(tmp_path / "absent")
    with pytest.raises(UserError, match="no readable config of a model"):
        load_model(tmp_path)
    for kind in ("llama", "glm4v_moe"):
        AutoConfig.for_model(kind).save_pretrained(tmp_path)
        with pytest.raises(UserError, match=f"model type {kind} is not supported; use one of {', '.join(FAMILIES)}"):
            load_model(tmp_path)


def test_weights_in_pickles_are_not_loaded(qwen2_5: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    save_model(load_model(qwen2_5), resolve(qwen2_5), out)
    torch.save(load_model(out).state_dict(), out / "pytorch_model.bin")
    (out / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"no readable weights of a model: .*safetensors"):
        load_model(out)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("model.safetensors", "weights"),
        ("tokenizer.json", "tokenizer"),
        ("preprocessor_config.json", "image processor"),
    ],
)
def test_a_folder_that_a_broken_download_left_is_named_in_one_line(
    qwen2_5: Path, tmp_path: Path, name: str, part: str
) -> None:
    save_model(load_model(qwen2_5), resolve(qwen2_5), tmp_path / "model")
    file = tmp_path / "model" / name
    for content in (file.read_bytes()[:100], None):
        file.unlink() if content is None else file.write_bytes(content)
        with pytest.raises(UserError, match=f"model: no readable ({part}|{name}) of a model: ") as caught:
            load_model(tmp_path / "model") if part == "weights" else PromptBuilder(tmp_path / "model")
        assert "\n" not in str(caught.value)

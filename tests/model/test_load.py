"""Model folders: pointers, refusals, and folders that load elsewhere."""

import os
import stat
from pathlib import Path

import pytest
import torch
from transformers.generation.configuration_utils import GenerationConfig
from transformers.models.auto.configuration_auto import AutoConfig
from transformers.models.auto.modeling_auto import AutoModelForImageTextToText
from transformers.models.auto.tokenization_auto import AutoTokenizer
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from stages.model.inputs import PromptBuilder
from stages.model.load import load_model, load_tokenizer, resolve, save_model
from stages.run.errors import UserError
from stages.run.files import write_json
from tests.model.tiny_models import clip, question


def test_a_saved_folder_loads_elsewhere_by_plain_from_pretrained(model_dir: Path, tmp_path: Path) -> None:
    model = load_model(model_dir)
    out = tmp_path / "saved"
    save_model(model, resolve(model_dir), out)

    again = AutoModelForImageTextToText.from_pretrained(out)
    assert type(again) is type(model)
    weights = again.state_dict()
    assert all(torch.equal(weight, weights[name]) for name, weight in model.state_dict().items())
    assert AutoTokenizer.from_pretrained(out).chat_template == load_tokenizer(model_dir).chat_template
    assert Qwen2VLImageProcessorPil.from_pretrained(out).patch_size == 8
    assert GenerationConfig.from_pretrained(out).eos_token_id == PromptBuilder(out).end_id
    assert resolve(out).prompt == "plain"
    assert torch.equal(PromptBuilder(out)(question(), clip()).ids_P, PromptBuilder(model_dir)(question(), clip()).ids_P)


def test_saving_twice_gives_the_same_bytes_and_replaces_the_folder(qwen2_5: Path, tmp_path: Path) -> None:
    model = load_model(qwen2_5)
    first, second = tmp_path / "first", tmp_path / "second"
    second.mkdir()
    (second / "stale.txt").write_text("of an earlier run")
    for out in (first, second):
        save_model(model, resolve(qwen2_5), out)
    assert {path.name: path.read_bytes() for path in first.iterdir()} == {
        path.name: path.read_bytes() for path in second.iterdir()
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "second"]


def test_files_have_the_mode_that_the_umask_leaves(qwen2_5: Path, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        save_model(load_model(qwen2_5), resolve(qwen2_5), tmp_path / "model")
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "model").iterdir()}
    assert "model.safetensors" in modes
    assert set(modes.values()) == {0o640}


def test_a_given_state_dict_is_what_is_saved(qwen2_5: Path, tmp_path: Path) -> None:
    model = load_model(qwen2_5)
    state = {name: torch.zeros_like(weight) for name, weight in model.state_dict().items()}
    save_model(model, resolve(qwen2_5), tmp_path / "zeros", state)
    assert all(not weight.any() for weight in load_model(tmp_path / "zeros").state_dict().values())


def test_a_model_is_saved_in_place_of_its_own_source(qwen2_5: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    save_model(load_model(qwen2_5), resolve(qwen2_5), out)
    save_model(load_model(out), resolve(out), out)
    assert load_model(out).num_parameters() == load_model(qwen2_5).num_parameters()
    assert (out / "preprocessor_config.json").exists()


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
    AutoConfig.for_model("llama").save_pretrained(tmp_path)
    with pytest.raises(UserError, match="model type llama is not supported; use one of qwen2_5_vl, qwen3_vl"):
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
        with pytest.raises(UserError, match=f"model: no readable {part} of a model: ") as caught:
            load_model(tmp_path / "model") if part == "weights" else PromptBuilder(tmp_path / "model")
        assert "\n" not in str(caught.value)

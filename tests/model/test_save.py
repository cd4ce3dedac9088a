"""Saved model folders: whole, repeatable, and in the layout that every release reads."""

import os
import stat
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers.generation.configuration_utils import GenerationConfig
from transformers.models.auto.configuration_auto import AutoConfig
from transformers.models.auto.modeling_auto import AutoModelForImageTextToText
from transformers.models.auto.tokenization_auto import AutoTokenizer
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from stages.model.adapters import Lora, add_lora
from stages.model.inputs import PromptBuilder
from stages.model.load import ModelSource, load_model, load_tokenizer, resolve
from stages.model.save import save_model
from stages.run.files import read_json, write_json
from tests.model.published import write_published
from tests.model.tiny_models import WRITERS, clip, picture, question


@pytest.fixture
def saved(model_dir: Path, tmp_path: Path) -> Path:
    """A model of each family, saved."""
    save_model(load_model(model_dir), resolve(model_dir), tmp_path / "saved")
    return tmp_path / "saved"


def test_a_saved_folder_loads_elsewhere_by_plain_from_pretrained(model_dir: Path, tmp_path: Path) -> None:
    model = load_model(model_dir)
    out = tmp_path / "saved"
    save_model(model, resolve(model_dir), out)

    again = AutoModelForImageTextToText.from_pretrained(out)
    assert type(again) is type(model)
    weights = again.state_dict()
    assert all(torch.equal(weight, weights[name]) for name, weight in model.state_dict().items())
    assert AutoTokenizer.from_pretrained(out).get_vocab() == load_tokenizer(model_dir).get_vocab()
    assert Qwen2VLImageProcessorPil.from_pretrained(out).patch_size == 8
    assert GenerationConfig.from_pretrained(out).eos_token_id == PromptBuilder(out).end_id
    assert resolve(out).prompt == "plain"
    assert torch.equal(PromptBuilder(out)(question(), clip()).ids_P, PromptBuilder(model_dir)(question(), clip()).ids_P)


def test_experts_are_saved_in_the_layout_of_the_published_files_however_they_were_loaded(tmp_path: Path) -> None:
    """transformers 4.57 and vLLM read [experts, inputs, outputs] and `num_experts`."""
    source = WRITERS["qwen3_vl_moe"](tmp_path / "source")
    save_model(load_model(source), resolve(source), tmp_path / "first")
    save_model(load_model(tmp_path / "first"), resolve(tmp_path / "first"), tmp_path / "second")
    experts = "model.language_model.layers.0.mlp.experts"
    for folder in (tmp_path / "first", tmp_path / "second"):
        weights = load_file(folder / "model.safetensors")
        assert weights[f"{experts}.gate_up_proj"].shape == (4, 64, 2 * 24)
        assert weights[f"{experts}.down_proj"].shape == (4, 24, 64)
        assert read_json(folder / "config.json")["text_config"]["num_experts"] == 4
    assert load_file(source / "model.safetensors")[f"{experts}.down_proj"].shape == (4, 64, 24)
    assert (tmp_path / "first" / "model.safetensors").read_bytes() == (
        tmp_path / "second" / "model.safetensors"
    ).read_bytes()


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


def test_sections_of_time_height_and_width_stand_where_transformers_4_57_reads_them(saved: Path) -> None:
    config = read_json(saved / "config.json")
    text = config["text_config"]
    turned = [2, 1, 1] if "partial_rotary_factor" in text else [4, 2, 2]  # a part of a head's values turns, or all
    assert text["rope_scaling"]["mrope_section"] == ([4, 6, 6] if config["model_type"] == "qwen2_5_vl" else turned)
    assert text.get("partial_rotary_factor") == text["rope_scaling"].get("partial_rotary_factor")
    assert (text["rope_theta"], text["rope_scaling"]["rope_type"]) == (10_000.0, "default")
    assert "rope_parameters" not in text
    assert text["tie_word_embeddings"] is config["tie_word_embeddings"] is True


def test_transformers_5_reads_the_config_that_it_would_have_written(
    model_dir: Path, saved: Path, tmp_path: Path
) -> None:
    load_model(model_dir).save_pretrained(tmp_path / "its_own")
    expected, found = (AutoConfig.from_pretrained(folder).to_dict() for folder in (tmp_path / "its_own", saved))
    expected["text_config"]["tie_word_embeddings"] = True  # of the whole model; transformers 4.57 reads it here
    assert found | {"_name_or_path": ""} == expected | {"_name_or_path": ""}


def test_a_trained_models_config_does_not_forbid_its_cache(qwen2_5: Path, tmp_path: Path) -> None:
    model = load_model(qwen2_5)
    model.config.use_cache = False  # as Trainer leaves it after training with activation checkpointing
    save_model(model, resolve(qwen2_5), tmp_path / "saved")
    config = AutoConfig.from_pretrained(tmp_path / "saved")
    assert getattr(config, "use_cache", True)
    assert config.text_config.use_cache


def test_the_tokenizer_has_the_class_and_the_names_of_transformers_4(qwen2_5: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    save_model(load_model(qwen2_5), resolve(qwen2_5), source)
    settings = read_json(source / "tokenizer_config.json")
    assert settings["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert "backend" not in settings
    of_five = settings | {"tokenizer_class": "TokenizersBackend", "extra_special_tokens": ["<|im_start|>"]}
    write_json(source / "tokenizer_config.json", of_five | {"chat_template": "an old one, without media"})
    save_model(load_model(source), resolve(source), tmp_path / "saved")
    settings = read_json(tmp_path / "saved" / "tokenizer_config.json")
    assert settings["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert settings["additional_special_tokens"] == ["<|im_start|>"]
    assert not settings.keys() & {"extra_special_tokens", "chat_template"}
    assert load_tokenizer(tmp_path / "saved").chat_template == load_tokenizer(qwen2_5).chat_template


def test_a_model_trained_from_published_files_keeps_its_sections_prompts_and_frames(
    qwen2_5: Path, tmp_path: Path
) -> None:
    source, saved = write_published(qwen2_5, tmp_path / "source"), tmp_path / "saved"
    save_model(load_model(source), ModelSource(source, "plain", "frames"), saved)
    text = read_json(saved / "config.json")["text_config"]
    assert (text["rope_theta"], text["rope_scaling"]["mrope_section"]) == (10_000.0, [4, 6, 6])
    prompt = PromptBuilder(qwen2_5)(question(), clip())
    assert torch.equal(PromptBuilder(saved)(question(), clip()).ids_P, prompt.ids_P)
    assert read_json(saved / "preprocessor_config.json")["min_pixels"] == 256


def test_a_server_finds_no_penalty_or_temperature_of_the_base_model(qwen2_5: Path, tmp_path: Path) -> None:
    source = write_published(qwen2_5, tmp_path / "source")
    model = load_model(source)
    assert model.generation_config.repetition_penalty == 1.05
    save_model(model, resolve(source), tmp_path / "saved")
    settings = read_json(tmp_path / "saved" / "generation_config.json")
    assert settings.keys() == {"eos_token_id", "pad_token_id", "transformers_version"}


@pytest.mark.parametrize(
    ("name", "settings", "expected"),
    [
        ("preprocessor_config.json", {"min_pixels": 3136, "max_pixels": 12_845_056}, {"min_pixels": 256}),
        (
            "video_preprocessor_config.json",
            {"size": {"shortest_edge": 65536, "longest_edge": 16_777_216}},
            {"size": {"shortest_edge": 256, "longest_edge": 16_777_216}},
        ),
        (
            "processor_config.json",
            {"video_processor": {"size": {"shortest_edge": 65536, "longest_edge": 1}, "fps": 2}},
            {"video_processor": {"size": {"shortest_edge": 256, "longest_edge": 1}, "fps": 2}},
        ),
    ],
)
def test_no_frame_of_one_merged_patch_is_enlarged_elsewhere(
    qwen2_5: Path, tmp_path: Path, name: str, settings: dict[str, Any], expected: dict[str, Any]
) -> None:
    source = tmp_path / "source"
    save_model(load_model(qwen2_5), resolve(qwen2_5), source)
    (source / name).unlink(missing_ok=True)
    write_json(source / name, settings)
    save_model(load_model(source), resolve(source), tmp_path / "saved")
    assert read_json(tmp_path / "saved" / name) == settings | expected


def test_small_pictures_keep_their_size_in_the_saved_processor(saved: Path) -> None:
    shown = picture(height=16, width=32).frames_THWC
    found = Qwen2VLImageProcessorPil.from_pretrained(saved)(list(shown), return_tensors="pt")
    assert found["image_grid_thw"].tolist() == [[1, 2, 4]]


def test_numbers_of_the_processor_are_not_rounded(qwen2_5: Path, tmp_path: Path) -> None:
    save_model(load_model(qwen2_5), resolve(qwen2_5), tmp_path / "saved")
    assert read_json(tmp_path / "saved" / "preprocessor_config.json")["rescale_factor"] == 1 / 255


def test_a_saved_template_leaves_no_release_a_choice_about_videos(qwen3: Path, tmp_path: Path) -> None:
    model, prompt = load_model(qwen3), PromptBuilder(qwen3)(question(), clip())
    save_model(model, resolve(qwen3), tmp_path / "frames")
    template = load_tokenizer(tmp_path / "frames").chat_template
    assert "<|video_pad|>" in template
    assert "<|vision_start|><|video_pad|>" not in template
    assert "<|vision_start|><|image_pad|><|vision_end|>" in template
    assert torch.equal(PromptBuilder(tmp_path / "frames")(question(), clip()).ids_P, prompt.ids_P)


def test_a_model_trained_with_enclosed_videos_says_so(qwen3: Path, tmp_path: Path) -> None:
    save_model(load_model(qwen3), ModelSource(qwen3, "plain", "enclosed"), tmp_path / "saved")
    assert read_json(tmp_path / "saved" / "pipeline.json") == {"prompt": "plain", "video_text": "enclosed"}
    assert load_tokenizer(tmp_path / "saved").chat_template == load_tokenizer(qwen3).chat_template
    assert resolve(tmp_path / "saved").video_text == "enclosed"


def test_merged_adapters_have_the_names_of_a_full_model(model_dir: Path, tmp_path: Path) -> None:
    adapted: Any = add_lora(load_model(model_dir), Lora(rank=2))
    names = set(load_model(model_dir).state_dict())
    save_model(adapted.merge_and_unload(), resolve(model_dir), tmp_path / "saved")
    assert set(load_model(tmp_path / "saved").state_dict()) == names

"""GLM's prompts against transformers' own processors."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from transformers.models.glm4v.image_processing_pil_glm4v import Glm4vImageProcessorPil
from transformers.models.glm4v.processing_glm4v import Glm4vProcessor
from transformers.models.glm46v.processing_glm46v import Glm46VProcessor
from transformers.video_utils import VideoMetadata

from stages.data.prompt import TAGS
from stages.model.inputs import PromptBuilder
from stages.model.load import load_model, resolve
from stages.model.save import save_model, write_settings
from stages.run.errors import UserError
from stages.run.files import read_json, write_json
from tests.model.tiny_models import WRITERS, clip, picture, question, write_glm46v_flash

MODELS = {
    "glm4v": (WRITERS["glm4v"], Glm4vProcessor),
    "glm46v": (WRITERS["glm46v"], Glm46VProcessor),
    "glm46v_flash": (write_glm46v_flash, Glm46VProcessor),
}


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def folder(model: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model saved by us, so that a name of its processor has to stay."""
    write, _ = MODELS[model]
    source = write(tmp_path_factory.mktemp("glm") / "source")
    save_model(load_model(source), resolve(source), source.with_name(model))
    return source.with_name(model)


def test_tokens_and_positions_of_a_video_are_those_of_the_processor_and_the_model(model: str, folder: Path) -> None:
    builder = PromptBuilder(folder)
    _, processor_class = MODELS[model]
    frames = clip(frames=5, height=32, width=48, fps=0.7)  # 0, 2.86 and 5.71 s
    prompt = builder(question(), frames)
    # Its parts for text alone: the video processor needs torchvision.
    processor = processor_class.__new__(processor_class)
    processor.image_token, processor.video_processor = "<|image|>", SimpleNamespace(merge_size=2)
    processor.image_token_id = builder.vision_ids["image"]
    processor.video_start_id, processor.video_end_id = builder.tokenizer.convert_tokens_to_ids(
        ["<|begin_of_video|>", "<|end_of_video|>"]
    )
    metadata = VideoMetadata(total_num_frames=9, fps=frames.source_fps, frames_indices=frames.indices_T.tolist())
    video = processor.replace_video_token({"video_grid_thw": prompt.grid_thw, "video_metadata": [metadata]}, 0)
    text = (
        f"[gMASK]<sop><|user|>\n<|begin_of_video|>{video}<|end_of_video|>"
        "Which way does it move?\nA. left\nB. right<|assistant|>\n"
    )
    assert prompt.ids_P.tolist() == builder.tokenizer(text, add_special_tokens=False)["input_ids"]
    types = torch.tensor(processor.create_mm_token_type_ids([prompt.ids_P.tolist()]))
    assert set(types.flatten().tolist()) == {0, 2}
    positions, _ = load_model(folder).model.get_rope_index(prompt.ids_P[None], types, video_grid_thw=prompt.grid_thw)  # type: ignore[operator]
    assert torch.equal(prompt.position_ids_3P, positions[:, 0])


def test_a_model_whose_processor_writes_times_in_an_unknown_way_is_refused(tmp_path: Path) -> None:
    file = write_glm46v_flash(tmp_path / "model") / "preprocessor_config.json"
    write_settings(file, read_json(file) | {"processor_class": "GlmgaProcessor"})
    with pytest.raises(UserError, match="how GlmgaProcessor writes a video's times is not known; use a model of "):
        PromptBuilder(tmp_path / "model")


def test_pixels_of_an_image_equal_the_processors(folder: Path) -> None:
    builder, frames = PromptBuilder(folder), picture(height=48, width=48)
    inputs = builder.normalised(builder.batch([builder(question(data_type="image"), frames)]))
    small = {"shortest_edge": 256, "longest_edge": 10**6}
    processor = Glm4vImageProcessorPil.from_pretrained(folder, size=small)
    expected = processor(Image.fromarray(frames.frames_THWC[0]), return_tensors="pt")
    assert torch.equal(inputs["video_grid_thw"], expected["image_grid_thw"])
    assert torch.allclose(inputs["pixel_values_videos"], expected["pixel_values"], atol=1e-6)


def test_an_image_that_is_passed_as_a_video_has_the_features_of_an_image(folder: Path) -> None:
    builder, model = PromptBuilder(folder), load_model(folder)
    prompt = builder(question(data_type="image"), picture())
    pixels, grid = builder.normalised(builder.batch([prompt]))["pixel_values_videos"], prompt.grid_thw
    with torch.no_grad():
        as_video, as_image = model.get_video_features(pixels, grid), model.get_image_features(pixels, grid)  # type: ignore[operator]
    assert prompt.data_type == "video"
    assert torch.equal(as_video.pooler_output[0], as_image.pooler_output[0])


def test_tags_that_a_tokenizer_calls_special_stay_in_a_response(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "model")
    settings = read_json(folder / "tokenizer.json")
    for token in settings["added_tokens"]:
        token["special"] |= token["content"] in TAGS
    write_json(tmp_path / "model" / "tokenizer.json", settings)
    builder = PromptBuilder(tmp_path / "model")
    response = "<think>left</think>\n<answer>A</answer>"
    ids_C = torch.tensor(builder.tokenizer(f"{response}<|user|>", add_special_tokens=False)["input_ids"])
    assert builder.tokenizer.decode(ids_C, skip_special_tokens=True) == "left\nA"
    assert builder.decode(ids_C) == response

"""Qwen3-VL's text of a video, as the releases of transformers write it."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch

from stages.base import BaseParams, run
from stages.model.family import VideoText
from stages.model.inputs import PromptBuilder
from stages.model.load import load_model
from tests.model.tiny_models import clip, question

# What AutoProcessor makes of `question()` and the published template's "<|vision_start|><|video_pad|><|vision_end|>".
# 3 and 4 start and end vision, 7 is a merged patch of the video, and "<0.2 seconds>" stands before the first pair.
HEADER = [1, 92, 90, 269, 206]
FRAMES = [
    *(35, 23, 21, 25, 228, 90, 76, 74, 86, 85, 75, 90, 37, 3, 7, 7, 4),
    *(35, 24, 21, 25, 228, 90, 76, 74, 86, 85, 75, 90, 37, 3, 7, 7, 4),
]
ASKED = [
    *(344, 335, 346, 281, 339, 287, 40, 21, 307, 206, 41, 21, 310, 2, 206),
    *(1, 72, 90, 90, 80, 90, 91, 268, 91, 206),
]
RECORDED: dict[VideoText, list[int]] = {
    "frames": [*HEADER, *FRAMES, *ASKED],  # transformers 4.57.6
    "enclosed": [*HEADER, 3, *FRAMES, 4, *ASKED],  # transformers 5.19.0
}


def builder(source: Path, video_text: VideoText, folder: Path) -> PromptBuilder:
    """The prompts of a base model that is asked in this way."""
    params = BaseParams(model=str(source), prompt="plain", video_text=video_text)
    run(params, folder / "base", folder / "base.json")
    return PromptBuilder(folder / "base")


@pytest.mark.parametrize("video_text", ["frames", "enclosed"])
def test_prompts_have_the_tokens_of_the_release_that_was_chosen(
    qwen3: Path, tmp_path: Path, video_text: VideoText
) -> None:
    frames = clip(frames=4, height=16, width=32, fps=2.0)
    assert builder(qwen3, video_text, tmp_path)(question(), frames).ids_P.tolist() == RECORDED[video_text]


def test_positions_of_an_enclosed_video_equal_the_models_own(qwen3: Path, tmp_path: Path) -> None:
    build = builder(qwen3, "enclosed", tmp_path)
    prompt = build(question(), clip(frames=6, height=32, width=48))
    types = torch.where(prompt.ids_P == build.config.video_token_id, 2, 0)[None]
    model = load_model(tmp_path / "base").model
    expected, _ = model.get_rope_index(prompt.ids_P[None], mm_token_type_ids=types, video_grid_thw=prompt.grid_thw)
    assert torch.equal(prompt.position_ids_3P, expected[:, 0])


@pytest.mark.parametrize("video_text", ["frames", "enclosed"])
def test_images_and_the_other_family_know_no_such_choice(
    qwen2_5: Path, qwen3: Path, tmp_path: Path, video_text: VideoText
) -> None:
    """The choice concerns Qwen3-VL's videos alone."""
    shown = [(qwen2_5, question()), (qwen3, question(data_type="image"))]
    for number, (source, sample) in enumerate(shown):
        frames = clip(frames=2 if sample.data_type == "video" else 1)
        chosen = builder(source, video_text, tmp_path / str(number))(sample, frames).ids_P.tolist()
        assert chosen == PromptBuilder(source)(sample, frames).ids_P.tolist()
        assert (3, 3) not in pairwise(chosen)

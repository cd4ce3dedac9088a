"""Counts of tokens: ours in each form, and what explains another one."""

from pathlib import Path

import numpy as np
import pytest

from stages.chat.parameters import Payload
from stages.chat.request import ChatSampling, Request
from stages.handshake.asked import Asked
from stages.handshake.counts import Counts, difference, prompt_tokens
from stages.model.inputs import PromptBuilder
from stages.model.load import ModelSource, load_model
from stages.model.save import save_model
from stages.video.frame_rows import row_from_frames
from tests.model.tiny_models import clip, picture, question

TEXT = "Which way does it move?\nA. left\nB. right"


def asked(payload: Payload, frames: int = 8) -> Asked:
    """A clip of 48x48, whose pairs of frames take 9 tokens each."""
    shown = clip(frames, 48, 48)
    pictures = tuple(row_from_frames("k", shown, None)["pictures"])
    times = tuple(shown.pts_T.tolist())
    request = Request("m", TEXT, pictures, "video", payload, ChatSampling(0.0, 1.0, 8), times=times)
    return Asked(question(), shown, np.arange(frames), request)


def test_a_clip_as_pictures_has_the_tokens_of_each_frame_with_its_two_marks(qwen2_5: Path) -> None:
    builder = PromptBuilder(qwen2_5)
    words = len(builder.tokenizer(f"<|im_start|>user\n{TEXT}<|im_end|>\n<|im_start|>assistant\n")["input_ids"])
    assert prompt_tokens(builder, asked("video")) == words + 4 * 9 + 2
    assert prompt_tokens(builder, asked("images")) == words + 8 * (9 + 2)


def test_an_image_is_one_medium(qwen2_5: Path) -> None:
    shown = picture(48, 48)
    pictures = tuple(row_from_frames("k", shown, None)["pictures"])
    request = Request("m", TEXT, pictures, "image", "images", ChatSampling(0.0, 1.0, 8))
    one = Asked(question(data_type="image"), shown, np.arange(1), request)
    builder = PromptBuilder(qwen2_5)
    assert one.is_one_medium
    assert prompt_tokens(builder, one) == len(builder(question(data_type="image"), shown).ids_P)


@pytest.mark.parametrize(
    ("payload", "theirs", "ours", "words"),
    [
        ("video", Counts(80, 40), Counts(74, 36), "the template: the question without frames has 40 tokens there"),
        ("video", Counts(56, 36), Counts(74, 36), "the number of frames: the server shows about 4 of 8"),
        ("images", Counts(36 + 4 * 11, 36), Counts(36 + 8 * 11, 36), "the number of frames: the server shows 4 of 8"),
        ("video", Counts(79, 36), Counts(74, 36), "the frames of 48x48: they take 43 tokens there and 38 here"),
    ],
)
def test_another_count_is_explained(payload: Payload, theirs: Counts, ours: Counts, words: str, qwen2_5: Path) -> None:
    assert difference(qwen2_5, PromptBuilder(qwen2_5), asked(payload), theirs, ours).startswith(words)


def around(model: Path) -> str:
    """What is said of two tokens more than here for a clip."""
    told = difference(model, PromptBuilder(model), asked("video"), Counts(98, 0), Counts(96, 0))
    assert told.startswith("the text around the frames of a clip: they take 98 tokens there and 96 here; ")
    return told


def test_two_tokens_more_for_a_clip_are_the_text_that_the_model_folder_did_not_choose(
    qwen3: Path, tmp_path: Path
) -> None:
    assert "base.video_text: enclosed " in around(qwen3)
    save_model(load_model(qwen3), ModelSource(qwen3, "plain", "enclosed"), tmp_path / "enclosed")
    assert "base.video_text: frames " in around(tmp_path / "enclosed")


def test_a_model_that_was_trained_here_is_served_with_its_own_template(qwen3: Path, tmp_path: Path) -> None:
    save_model(load_model(qwen3), ModelSource(qwen3, "plain", "frames"), tmp_path / "trained")
    assert around(tmp_path / "trained").endswith("serve the folder with its own chat template")

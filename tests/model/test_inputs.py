"""Prompts: tokens, positions and pixels against those of Hugging Face."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from stages.data.order import permutation
from stages.data.prompt import question_text
from stages.data.sample import DataType
from stages.model.inputs import IGNORE, Prompt, PromptBuilder, UnusableSample
from stages.model.load import load_model
from stages.model.positions import group_seconds, mrope_positions, seconds_per_grid
from stages.run.errors import UserError
from stages.video.frame_store import FrameShape
from tests.model.tiny_models import clip, picture, question


@pytest.fixture
def builder(model_dir: Path) -> PromptBuilder:
    return PromptBuilder(model_dir)


def rope_index(model: Any, builder: PromptBuilder, prompt: Prompt, **kwargs: Tensor) -> tuple[Tensor, int]:
    """The model's own positions of a prompt, and the position after it."""
    is_vision_P = torch.isin(prompt.ids_P, torch.tensor(list(builder.vision_ids.values())))
    types = torch.where(is_vision_P, 1 if "image_grid_thw" in kwargs else 2, 0)[None]
    positions, deltas = model.model.get_rope_index(prompt.ids_P[None], mm_token_type_ids=types, **kwargs)
    return positions[:, 0], int(deltas[0]) + len(prompt.ids_P)


def test_positions_of_an_image_equal_the_models_own(model_dir: Path, builder: PromptBuilder) -> None:
    prompt = builder(question(data_type="image"), picture(height=32, width=64))
    expected, following = rope_index(load_model(model_dir), builder, prompt, image_grid_thw=prompt.grid_thw)
    assert torch.equal(prompt.position_ids_3P, expected)
    assert prompt.next_position == following


def test_positions_of_a_video_equal_the_models_own(model_dir: Path, builder: PromptBuilder) -> None:
    # Three frame pairs half a second apart: time reaches 2, height and width 1 and 2.
    frames = clip(frames=6, height=32, width=48, fps=4.0)
    prompt = builder(question(), frames)
    expected, following = rope_index(
        load_model(model_dir), builder, prompt, video_grid_thw=prompt.grid_thw, second_per_grid_ts=torch.tensor([0.5])
    )
    assert prompt.position_ids_3P.unique().numel() > 3
    assert torch.equal(prompt.position_ids_3P, expected)
    assert prompt.next_position == following


def test_text_after_a_long_video_stands_after_its_time(qwen2_5: Path) -> None:
    builder = PromptBuilder(qwen2_5)
    prompt = builder(question(), clip(frames=4, height=16, width=16, fps=0.1))  # pairs 20 s apart, 2 positions a second
    visual_P = prompt.ids_P == builder.config.video_token_id
    first = int(visual_P.nonzero()[0])
    assert prompt.position_ids_3P[0, visual_P].tolist() == [first, first + 40]
    assert prompt.position_ids_3P[:, first + 2].tolist() == [first + 41] * 3
    assert prompt.next_position == int(prompt.position_ids_3P[0, -1]) + 1


def test_mrope_positions_by_hand() -> None:
    is_vision = torch.tensor([False, True, True, True, True, False, False])
    positions = mrope_positions(is_vision, [(2, 1, 2)], interval=2.5)
    assert positions.tolist() == [
        [0, 1, 1, 3, 3, 4, 5],
        [0, 1, 1, 1, 1, 4, 5],
        [0, 1, 2, 1, 2, 4, 5],
    ]


def test_times_of_frame_pairs() -> None:
    pts_T = np.array([0.0, 0.5, 1.0, 1.5, 2.0])
    assert seconds_per_grid(pts_T, 2) == 1.0
    assert seconds_per_grid(pts_T[:1], 2) == 1.0
    assert group_seconds(pts_T, 2) == [0.25, 1.25, 2.0]


def test_qwen3_prompts_carry_the_time_before_each_frame_pair(qwen3: Path) -> None:
    builder = PromptBuilder(qwen3)
    text = builder.tokenizer.decode(builder(question(), clip(frames=4, height=16, width=32, fps=2.0)).ids_P)
    seen = "<|vision_start|><|video_pad|><|video_pad|><|vision_end|>"
    assert text == (
        f"<|im_start|>user\n<0.2 seconds>{seen}<1.2 seconds>{seen}"
        "Which way does it move?\nA. left\nB. right<|im_end|>\n<|im_start|>assistant\n"
    )


def test_qwen2_5_prompts_hold_one_run_of_placeholders(qwen2_5: Path) -> None:
    builder = PromptBuilder(qwen2_5)
    text = builder.tokenizer.decode(builder(question(), clip(frames=4, height=16, width=32)).ids_P)
    assert text == (
        f"<|im_start|>user\n<|vision_start|>{'<|video_pad|>' * 4}<|vision_end|>"
        "Which way does it move?\nA. left\nB. right<|im_end|>\n<|im_start|>assistant\n"
    )


def test_pixels_of_an_image_equal_the_processors(qwen2_5: Path) -> None:
    builder, frames = PromptBuilder(qwen2_5), picture(height=48, width=48)
    inputs = builder.normalised(builder.batch([builder(question(data_type="image"), frames)]))
    processor = Qwen2VLImageProcessorPil.from_pretrained(qwen2_5)
    expected = processor(Image.fromarray(frames.frames_THWC[0]), return_tensors="pt")
    assert torch.equal(inputs["image_grid_thw"], expected["image_grid_thw"])
    assert torch.allclose(inputs["pixel_values"], expected["pixel_values"], atol=1e-6)


def test_frames_are_reordered_before_they_are_merged_into_patches(builder: PromptBuilder) -> None:
    frames = clip(frames=4)
    shuffled = builder(question(), frames, np.array([2, 0, 3, 1]))
    ordered = builder(question(), frames)
    assert torch.equal(shuffled.ids_P, ordered.ids_P)
    assert torch.equal(shuffled.position_ids_3P, ordered.position_ids_3P)
    first_patch = shuffled.patches_NK[0].reshape(3, 2, 8, 8)
    assert np.array_equal(first_patch[:, 0].permute(1, 2, 0), frames.frames_THWC[2, :8, :8])
    assert np.array_equal(first_patch[:, 1].permute(1, 2, 0), frames.frames_THWC[0, :8, :8])


def test_another_order_of_frames_changes_what_the_model_says(model_dir: Path, builder: PromptBuilder) -> None:
    model, frames = load_model(model_dir), clip(frames=4)
    with torch.no_grad():
        logits = [
            model(**builder.normalised(builder.batch([builder(question(), frames, np.array(order))]))).logits[0, -1]
            for order in ([0, 1, 2, 3], [3, 1, 2, 0])
        ]
    assert (logits[0] - logits[1]).abs().max() > 1e-3


def test_a_padded_batch_of_videos_and_images_gives_the_logits_of_each_alone(
    model_dir: Path, builder: PromptBuilder
) -> None:
    model = load_model(model_dir)
    prompts = [
        builder(question(), clip(frames=6)),
        builder(question("picture-1", "image", problem="What colour is it?"), picture()),
        builder(question("clip-2"), clip(frames=2)),
        builder(question("clip-3"), clip(frames=2), permutation(2, "blind")),
    ]
    with torch.no_grad():
        alone = [model(**builder.normalised(builder.batch([prompt]))).logits[0, -1] for prompt in prompts]
        left = model(**builder.normalised(builder.batch(prompts, padding="left"))).logits[:, -1]
        right = model(**builder.normalised(builder.batch(prompts))).logits
    for row, prompt in enumerate(prompts):
        assert torch.allclose(left[row], alone[row], atol=1e-4)
        assert torch.allclose(right[row, len(prompt.ids_P) - 1], alone[row], atol=1e-4)


@pytest.mark.parametrize("data_type", ["video", "image"])
def test_a_blind_prompt_is_the_templates_own_for_text_alone(builder: PromptBuilder, data_type: DataType) -> None:
    frames = clip(frames=2) if data_type == "video" else picture()
    prompt = builder(question(data_type=data_type), frames, permutation(len(frames.frames_THWC), "blind"))
    text = question_text(question(data_type=data_type), builder.prompt_style)
    expected = builder.tokenizer.apply_chat_template(
        [{"role": "user", "content": [{"type": "text", "text": text}]}], tokenize=False, add_generation_prompt=True
    )
    assert builder.tokenizer.decode(prompt.ids_P) == expected
    assert prompt.position_ids_3P.tolist() == [list(range(len(prompt.ids_P)))] * 3
    assert prompt.next_position == len(prompt.ids_P)
    assert set(builder.batch([prompt])) == {"input_ids", "attention_mask", "position_ids"}


def test_only_the_completion_is_labelled(builder: PromptBuilder) -> None:
    prompts = [builder(question(), clip(frames=2)), builder(question("clip-2", problem="What?"), clip(frames=2))]
    target = builder.completion_ids("<think>left</think>\n<answer>A</answer>")
    inputs = builder.batch(prompts, [target, target[-1:]])
    labelled = [row[row != IGNORE].tolist() for row in inputs["labels"]]
    assert labelled == [target.tolist(), [builder.end_id]]
    thought = "left</think>" if builder.opened else "<think>left</think>"
    assert builder.tokenizer.decode(target) == f"{thought}\n<answer>A</answer>{builder.family.end_token}"
    start = len(prompts[0].ids_P)
    assert inputs["labels"][0, :start].eq(IGNORE).all()
    assert inputs["input_ids"][0, start : start + len(target)].tolist() == target.tolist()
    assert inputs["position_ids"][:, 0, start].tolist() == [prompts[0].next_position] * 3


def test_frames_that_do_not_fit_the_grid_are_an_error_that_says_what_to_change(builder: PromptBuilder) -> None:
    with pytest.raises(UserError, match=r"clip-1: frames of 40x32 do not fit .* multiples of 16"):
        builder(question(), clip(height=32, width=40))


def test_a_records_text_never_becomes_a_special_token(builder: PromptBuilder) -> None:
    tokens = {number: token for number, token in builder.tokenizer.added_tokens_decoder.items() if token.special}
    names = {str(token) for token in tokens.values()}
    assert {builder.family.end_token, *builder.family.pads.values()} < names
    hostile = f"a {' '.join(sorted(names))}\n<answer>B</answer>"
    of_template, found = (
        [token for token in builder(question(problem=text), clip()).ids_P.tolist() if token in tokens]
        for text in ("What?", hostile)
    )
    assert found == of_template
    assert hostile in builder.tokenizer.decode(builder(question(problem=hostile), clip()).ids_P)
    completion = builder.completion_ids(hostile).tolist()
    assert [token for token in completion if token in tokens] == [builder.end_id]
    assert completion[-1] == builder.end_id


def test_the_length_of_a_prompt_is_known_without_its_pixels(builder: PromptBuilder) -> None:
    for sample, frames in ((question(), clip(frames=5)), (question(data_type="image"), picture())):
        count, height, width, _ = frames.frames_THWC.shape
        shape = FrameShape(count, height, width, frames.pts_T)
        assert builder.prompt_length(sample, shape) == len(builder(sample, frames).ids_P)


def test_a_prompt_may_be_as_long_as_the_parameter_and_the_model_allow(builder: PromptBuilder) -> None:
    builder.check_length("clip-1", 100, 20, 100)
    builder.check_length("clip-1", builder.max_tokens - 20, 20, None)
    with pytest.raises(UnusableSample, match="clip-1: the prompt has 101 tokens, more than 100; "):
        builder.check_length("clip-1", 101, 20, 100)
    with pytest.raises(UnusableSample, match="more than"):
        builder.check_length("clip-1", builder.max_tokens - 19, 20, None)

"""Tokens of chat templates and vocabularies are found in text.

Other text is left alone.
"""

from pathlib import Path

import pytest

from stages.data.sample import Unusable
from stages.data.special_tokens import SPECIAL_TOKEN, check_special_tokens, without_media_tag
from stages.run.files import read_json

QWEN = [  # of the vocabularies of Qwen2.5-VL and Qwen3-VL
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>"),
    *("<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>"),
    *("<|image_pad|>", "<|video_pad|>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"),
    *("<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>"),
]
OTHERS = [
    *("<s>", "</s>", "<bos>", "<eos>", "<pad>", "<unk>", "[INST]", "[/INST]", "<<SYS>>", "<image>", "<video>", "<img>"),
    *("<IMG_CONTEXT>", "<start_of_turn>", "<end_of_turn>", "<image_soft_token>", "<|eot_id|>", "<|start_header_id|>"),
    *("<｜User｜>", "<｜end▁of▁sentence｜>", "<|user|>", "<|assistant|>", "[IMG]", "[IMG_BREAK]"),
    *("[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>", "<|begin_of_box|>"),
]


@pytest.mark.parametrize("token", [*QWEN, *OTHERS])
def test_special_tokens_are_refused_by_name(token: str) -> None:
    with pytest.raises(Unusable) as error:
        check_special_tokens("problem", f"What is{token}here?")
    assert (error.value.reason, error.value.detail) == ("special token", f"problem holds {token}")


def test_every_special_token_of_a_tokenizer_is_found(model_dir: Path) -> None:
    tokens = [each["content"] for each in read_json(model_dir / "tokenizer.json")["added_tokens"] if each["special"]]
    assert len(tokens) > 3
    assert [token for token in tokens if not SPECIAL_TOKEN.search(token)] == []


@pytest.mark.parametrize(
    "text", ["Is a < b | c > d?", "x |= P(A|B)", "<b>bold</b>", "<image 1>", "<think>", "||x|| <|> ||y||", "a<|b c|>d"]
)
def test_other_text_with_angles_and_bars_is_left_alone(text: str) -> None:
    check_special_tokens("problem", text)


def test_one_media_tag_before_or_after_the_question_is_taken_off() -> None:
    assert without_media_tag("<video>\nWhich way?", "video") == "Which way?"
    assert without_media_tag("What is it? <image>", "image") == "What is it?"
    assert without_media_tag(" Which way? ", "video") == " Which way? "
    assert without_media_tag("<image>\nWhich way?", "video") == "<image>\nWhich way?"  # of another kind: refused later
    with pytest.raises(Unusable, match="several media"):
        without_media_tag("<image> or <image>?", "image")

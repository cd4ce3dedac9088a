"""The embedded model and its tokenizer."""

import torch

from stages.embedded.tiny import build_model, build_tokenizer
from tests.model.tiny_models import LINES


def test_the_tokenizer_restores_any_text_and_cuts_digits_apart() -> None:
    tokenizer = build_tokenizer(LINES)
    text = "<think>frame 128 täglich 左\n so</think>\n<answer>B</answer>"
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == text
    tokens = tokenizer.convert_ids_to_tokens(ids)
    assert tokens[0] == "<think>"
    assert tokens[-3:] == ["<answer>", "B", "</answer>"]
    assert tokens[tokens.index("1") : tokens.index("1") + 3] == ["1", "2", "8"]


def test_frequent_words_become_one_token() -> None:
    tokenizer = build_tokenizer(LINES)
    assert tokenizer.tokenize(" it moves right") == ["Ġit", "Ġmoves", "Ġright"]


def test_the_template_puts_media_where_the_message_has_them() -> None:
    tokenizer = build_tokenizer(LINES)
    messages = [
        {"role": "user", "content": [{"type": "video"}, {"type": "text", "text": "Why?"}]},
        {"role": "assistant", "content": "So."},
    ]
    assert tokenizer.apply_chat_template(messages, tokenize=False) == (
        "<|im_start|>user\n<|vision_start|><|video_pad|><|vision_end|>Why?<|im_end|>\n"
        "<|im_start|>assistant\nSo.<|im_end|>\n"
    )


def test_the_model_has_its_size_and_depends_on_its_seed_alone() -> None:
    tokenizer = build_tokenizer(LINES)
    model, same, other = build_model(tokenizer, 1), build_model(tokenizer, 1), build_model(tokenizer, 2)
    language = 1_209_120  # without the tied embedding, whose size is that of the vocabulary
    assert model.num_parameters() == language + 128 * len(tokenizer)
    weights, again = model.state_dict(), same.state_dict()
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    assert not torch.equal(weights["lm_head.weight"], other.state_dict()["lm_head.weight"])
    assert abs(float(model.lm_head.weight.detach().std()) - 0.08) < 0.002


def test_head_and_embedding_are_one_tensor() -> None:
    model = build_model(build_tokenizer(LINES), 1)
    assert model.lm_head.weight is model.get_input_embeddings().weight

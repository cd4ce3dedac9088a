"""The embedded model: a random Qwen2.5-VL of 1.3 million parameters.

It has a small tokenizer of its own.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers.generation.configuration_utils import GenerationConfig
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.tokenization_utils_tokenizers import PreTrainedTokenizerFast

from stages.data.prompt import PromptStyle
from stages.model.load import PIPELINE_FILE
from stages.model.save import make_portable, write_settings
from stages.run.files import write_json

VOCABULARY = 558
FRAME_SIZE = 48  # pixels; a cell of the shapes world is then one merged token
PATCH, MERGE, TEMPORAL_PATCH = 8, 2, 2
MEAN, STD = [0.5, 0.5, 0.5], [0.5, 0.5, 0.5]

_SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
_TAGS = ("<think>", "</think>", "<answer>", "</answer>")
# Qwen's rule for cutting text into words: every digit is a word of its own.
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Qwen2.5-VL's template without its system prompt.
_CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build_tokenizer(lines: Sequence[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE of at most 558 tokens, trained on `lines`.

    It has Qwen's special tokens and chat template.

    The tags of thoughts and answers are added tokens that decoding keeps.
    """
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(_TAGS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=list(_SPECIAL),
        show_progress=False,
    )
    tokenizer.train_from_iterator(lines, trainer)
    tokenizer.add_tokens(list(_TAGS))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=_CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def build_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> Qwen2_5_VLForConditionalGeneration:
    """The model with random weights; the same seed gives the same weights."""
    ids = tokenizer.get_vocab()
    torch.manual_seed(seed)
    model = Qwen2_5_VLForConditionalGeneration(
        Qwen2_5_VLConfig(
            text_config={
                "vocab_size": len(tokenizer),
                "hidden_size": 128,
                "intermediate_size": 384,
                "num_hidden_layers": 4,
                "num_attention_heads": 4,
                "num_key_value_heads": 2,
                "max_position_embeddings": 4096,
                "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [4, 6, 6]},
                "initializer_range": 0.08,  # with the usual 0.02 nothing is learned in a few hundred steps
                "bos_token_id": None,
                "eos_token_id": ids["<|im_end|>"],
                "pad_token_id": ids["<|endoftext|>"],
            },
            vision_config={
                "depth": 2,
                "hidden_size": 96,
                "intermediate_size": 192,
                "num_heads": 3,
                "out_hidden_size": 128,
                "patch_size": PATCH,
                "spatial_merge_size": MERGE,
                "temporal_patch_size": TEMPORAL_PATCH,
                "tokens_per_second": 2,
                "window_size": 112,
                "fullatt_block_indexes": [0, 1],
                "initializer_range": 0.08,
            },
            image_token_id=ids["<|image_pad|>"],
            video_token_id=ids["<|video_pad|>"],
            vision_start_token_id=ids["<|vision_start|>"],
            vision_end_token_id=ids["<|vision_end|>"],
            tie_word_embeddings=True,
        )
    )
    model.generation_config = GenerationConfig(eos_token_id=ids["<|im_end|>"], pad_token_id=ids["<|endoftext|>"])
    return model.eval()


def build_image_processor() -> Qwen2VLImageProcessorPil:
    """The model's processor settings: patch sizes and pixel statistics."""
    return Qwen2VLImageProcessorPil(
        patch_size=PATCH,
        merge_size=MERGE,
        temporal_patch_size=TEMPORAL_PATCH,
        image_mean=MEAN,
        image_std=STD,
        size={"shortest_edge": (PATCH * MERGE) ** 2, "longest_edge": (4 * FRAME_SIZE) ** 2},
    )


def write_tiny(out: Path, lines: Sequence[str], seed: int, prompt: PromptStyle) -> None:
    """Write the untrained model and a tokenizer for `lines`.

    The folder also loads elsewhere.
    """
    tokenizer = build_tokenizer(lines)
    build_model(tokenizer, seed).save_pretrained(out)
    tokenizer.save_pretrained(out)
    processor = build_image_processor()
    processor.save_pretrained(out)
    video = processor.to_dict() | {"video_processor_type": "Qwen2VLVideoProcessor"}
    write_settings(out / "video_preprocessor_config.json", video)
    make_portable(out)
    write_json(out / PIPELINE_FILE, {"prompt": prompt})

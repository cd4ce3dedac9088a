"""Random models of real sizes, and questions on clips of noise."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLForConditionalGeneration

from stages.data.sample import TRAINING_SCHEMA, Sample
from stages.data.shards import ShardStore
from stages.embedded.tiny import build_tokenizer
from stages.model.load import PIPELINE_FILE
from stages.run.files import write_json, write_table
from stages.video.frame_rows import row_from_frames
from stages.video.frame_store import SCHEMA, FrameReader, Frames

Size = Literal["toy", "3b", "7b"]

TEXT: dict[Size, dict[str, int]] = {
    "toy": {
        "vocab_size": 1200,
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    },
    "3b": {
        "vocab_size": 151_936,
        "hidden_size": 2048,
        "intermediate_size": 11_008,
        "num_hidden_layers": 36,
        "num_attention_heads": 16,
        "num_key_value_heads": 2,
    },
    "7b": {
        "vocab_size": 152_064,
        "hidden_size": 3584,
        "intermediate_size": 18_944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
    },
}
VISION = {
    "depth": 32,
    "hidden_size": 1280,
    "intermediate_size": 3420,
    "num_heads": 16,
    "patch_size": 14,
    "fullatt_block_indexes": [7, 15, 23, 31],
    "window_size": 112,
    "tokens_per_second": 2,
}
TOY_VISION = {"depth": 2, "hidden_size": 64, "intermediate_size": 96, "num_heads": 4, "fullatt_block_indexes": [1]}
QUESTIONS = 8
HEIGHT, WIDTH, FPS = 224, 448, 2.0


@dataclass(frozen=True)
class Lengths:
    """Frames of a clip, tokens of a prompt and of a completion."""

    frames: int
    prompt: int
    completion: int


LENGTHS: dict[Size, Lengths] = {
    "toy": Lengths(2, 180, 12),
    "3b": Lengths(16, 1440, 256),
    "7b": Lengths(16, 1440, 256),
}


def write_model(folder: Path, size: Size, device: str) -> None:
    """A random Qwen2.5-VL in bf16, made on the device."""
    tokenizer = build_tokenizer(["Which way does it move, one two three?\nA. left\nB. right"])
    ids, text = tokenizer.get_vocab(), TEXT[size]
    head = text["hidden_size"] // text["num_attention_heads"]
    sections = [head // 8, head // 16 * 3, head // 2 - head // 8 - head // 16 * 3]
    config = Qwen2_5_VLConfig(
        text_config={
            **text,
            "max_position_embeddings": 32_768,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": sections},
            "bos_token_id": None,
            "eos_token_id": ids["<|im_end|>"],
        },
        vision_config={**VISION, **(TOY_VISION if size == "toy" else {}), "out_hidden_size": text["hidden_size"]},
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=size != "7b",
    )
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(device):
            model = Qwen2_5_VLForConditionalGeneration(config)
    finally:
        torch.set_default_dtype(torch.float32)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_json(folder / PIPELINE_FILE, {"prompt": "plain"})
    statistics = {"image_mean": [0.48, 0.46, 0.41], "image_std": [0.27, 0.26, 0.28]}
    write_json(folder / "preprocessor_config.json", {"image_processor_type": "Qwen2VLImageProcessor", **statistics})


def write_questions(folder: Path, lengths: Lengths) -> tuple[Path, FrameReader]:
    """A training set on clips of noise, and their reader."""
    return write_clips(folder, [lengths] * QUESTIONS)


def write_clips(folder: Path, clips: Sequence[Lengths]) -> tuple[Path, FrameReader]:
    """The same on clips of different lengths."""
    samples, rows = [], []
    for number, lengths in enumerate(clips):
        visual = (lengths.frames + 1) // 2 * HEIGHT * WIDTH // 28**2
        samples.append(_sample(f"clip-{number}", lengths.prompt - visual, lengths.completion))
        rows.append(row_from_frames(samples[-1].sample_id, _noise(number, lengths), 90))
    ShardStore(folder / "frames", SCHEMA).append(rows)
    table = folder / "samples.parquet"
    write_table(table, [sample.model_dump() | {"frame_key": sample.sample_id} for sample in samples], TRAINING_SCHEMA)
    return table, FrameReader(folder / "frames", table)


def _noise(seed: int, lengths: Lengths) -> Frames:
    pixels = np.random.default_rng(seed).integers(0, 256, (lengths.frames, HEIGHT, WIDTH, 3), dtype=np.uint8)
    return Frames(pixels, np.arange(lengths.frames), np.arange(lengths.frames) / FPS, FPS)


def _sample(sample_id: str, words: int, answer: int) -> Sample:
    """A question of about `words` tokens, and a thought of about `answer`."""
    return Sample(
        sample_id=sample_id,
        source="noise",
        data_type="video",
        problem_type="multiple choice",
        problem="Which way does it move?" + " one" * max(0, words - 40),
        options=("A. left", "B. right"),
        answer="B",
        process=f"<think>{'one ' * max(1, answer - 30)}</think>\n<answer>B</answer>",
        media_path="clip.mp4",
        media_sha256="0" * 64,
    )

"""The sizes of the step, its random model, and its question."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLForConditionalGeneration

from stages.data.order import permutation
from stages.data.sample import Sample
from stages.embedded.tiny import build_tokenizer
from stages.model.inputs import Prompt, PromptBuilder
from stages.model.load import PIPELINE_FILE
from stages.rl.questions import RolloutQuestion
from stages.run.files import write_json
from stages.video.frame_store import Frames

CONTRAST, TOP_P = 4, 0.95
FRAME_HEIGHT, FRAME_WIDTH, FPS = 224, 448, 4.0  # 128 merged tokens per pair of frames, one position in time per pair
VOCABULARY = 12_000
STOP_EVERY = 140  # mean tokens until the random model ends a ragged response; cut at 256 they are 117 long


@dataclass(frozen=True)
class Case:
    """A size of the step.

    `prompt` is P, its tokens: text fills up what the frames leave. `completion` is C, the most tokens of a response.
    """

    frames: int
    prompt: int
    completion: int
    checkpointing: bool = False
    ragged: bool = False
    group: int = 8


CASES = {
    "p762-c128": Case(frames=10, prompt=762, completion=128),
    "p1186-c256": Case(frames=16, prompt=1186, completion=256, checkpointing=True),
    "ragged": Case(frames=16, prompt=1186, completion=256, checkpointing=True, ragged=True),
    "quick": Case(frames=2, prompt=180, completion=12, group=4),
}


def write_model(folder: Path) -> None:
    """A random Qwen2.5-VL of 30 M parameters with a small tokenizer.

    Patches and frames have their real sizes.
    """
    tokenizer = build_tokenizer(["Which way does it move, one two three?\nA. left\nB. right"])
    torch.manual_seed(0)
    model = Qwen2_5_VLForConditionalGeneration(_config(tokenizer.get_vocab()))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_json(folder / PIPELINE_FILE, {"prompt": "plain"})
    write_json(folder / "preprocessor_config.json", {"image_mean": [0.48, 0.46, 0.41], "image_std": [0.27, 0.26, 0.28]})


def _config(ids: dict[str, int]) -> Qwen2_5_VLConfig:
    return Qwen2_5_VLConfig(
        text_config={
            "vocab_size": VOCABULARY,
            "hidden_size": 512,
            "intermediate_size": 1376,
            "num_hidden_layers": 8,
            "num_attention_heads": 8,
            "num_key_value_heads": 2,
            "max_position_embeddings": 4096,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0, "mrope_section": [8, 12, 12]},
            "bos_token_id": None,
            "eos_token_id": ids["<|im_end|>"],
        },
        vision_config={
            "depth": 3,
            "hidden_size": 192,
            "intermediate_size": 384,
            "num_heads": 4,
            "out_hidden_size": 512,
            "patch_size": 14,
            "fullatt_block_indexes": [1],
            "window_size": 112,
            "tokens_per_second": 2,
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=True,
    )


def question(builder: PromptBuilder, case: Case) -> RolloutQuestion:
    """A clip of noise, and a text that fills the prompt."""
    pixels = np.random.default_rng(0).integers(0, 256, (case.frames, FRAME_HEIGHT, FRAME_WIDTH, 3), dtype=np.uint8)
    frames = Frames(pixels, np.arange(case.frames), np.arange(case.frames) / FPS, FPS)

    def _ask(words: int, order_T: np.ndarray | None = None) -> Prompt:
        return builder(_sample(" one" * words), frames, order_T)

    words = case.prompt - len(_ask(0).ids_P)
    ordered = _ask(words)
    assert len(ordered.ids_P) == case.prompt, f"prompt of {len(ordered.ids_P)} tokens"
    return RolloutQuestion(_sample(""), ordered, _ask(words, permutation(case.frames, "shuffled", "clip")))


def _sample(problem: str) -> Sample:
    return Sample(
        sample_id="clip",
        source="benchmark",
        data_type="video",
        problem_type="free-form",
        problem=f"Which way does it move?{problem}",
        options=(),
        answer="left",
        process=None,
        media_path="clip.mp4",
        media_sha256="0" * 64,
    )

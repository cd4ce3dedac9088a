"""Small random model folders of all families, with one tokenizer."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers.modeling_utils import PreTrainedModel
from transformers.models.auto.configuration_auto import AutoConfig
from transformers.models.auto.modeling_auto import AutoModelForImageTextToText
from transformers.models.glm4v.image_processing_pil_glm4v import Glm4vImageProcessorPil
from transformers.tokenization_utils_tokenizers import PreTrainedTokenizerFast

from stages.data.sample import DataType, Sample
from stages.embedded.tiny import build_image_processor, build_model, build_tokenizer
from stages.model.save import write_settings
from stages.run.files import read_json, write_json
from stages.video.frame_store import Frames

LINES = [
    "Which way does it move?\nA. left\nB. right\n"
    "<think>frame 1 top left, so it moves right, option B.</think>\n<answer>B</answer>",
    "What colour is it?\nA. red\nB. green\n"
    "<think>it is a red circle, so the colour is red, option A.</think>\n<answer>A</answer>",
]

Settings = Mapping[str, Any]
# What the configs for text and vision of each family have besides.
_QWEN3_VISION = {"deepstack_visual_indexes": [0, 1], "num_position_embeddings": 36}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "norm_topk_prob": True}
_LINEAR = {
    **{"full_attention_interval": 2, "partial_rotary_factor": 0.5, "linear_conv_kernel_dim": 4},
    **{"linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 16},
}
_QWEN3_5_VISION = {"num_position_embeddings": 36}
_GLM: tuple[Settings, Settings] = ({}, {"image_size": 48})
OF_FAMILY: dict[str, tuple[Settings, Settings]] = {
    "glm4v": _GLM,
    "glm46v": _GLM,
    "qwen2_vl": ({}, {"mlp_ratio": 2}),
    "qwen2_5_vl": ({}, {"fullatt_block_indexes": [0, 1], "window_size": 16}),
    "qwen3_5": (_LINEAR, _QWEN3_5_VISION),
    "qwen3_5_moe": ({**_LINEAR, **_EXPERTS, "shared_expert_intermediate_size": 24}, _QWEN3_5_VISION),
    "qwen3_vl": ({}, _QWEN3_VISION),
    "qwen3_vl_moe": (_EXPERTS, _QWEN3_VISION),
}

# As Qwen3.5's: the turn's text without white space at its ends, and a thought that is opened, or closed at once.
_ANSWER_TURN = "<|im_start|>assistant\n{% endif %}"
_THINKING_TURN = (
    "<|im_start|>assistant\n{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n"
    "{% else %}<think>\n{% endif %}{% endif %}"
)


def thinking_template(template: str) -> str:
    """The embedded template with what Qwen3.5's does besides."""
    start, end = "{% if message['content'] is string %}", "{% endif %}<|im_end|>"
    trimmed = template.replace(start, "{% set turn %}" + start).replace(
        end, "{% endif %}{% endset %}{{ turn | trim }}<|im_end|>"
    )
    return trimmed.replace(_ANSWER_TURN, _THINKING_TURN)


_MEDIA_TOKENS = [f"<|{part}{kind}|>" for kind in ("image", "video") for part in ("", "begin_of_", "end_of_")]
_GLM_TOKENS = ["[gMASK]", "<sop>", "<|user|>", "<|assistant|>", *_MEDIA_TOKENS]
_GLM_TEMPLATE = (
    "[gMASK]<sop>{% for message in messages %}<|{{ message['role'] }}|>\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}"
    "{% else %}<|begin_of_{{ part['type'] }}|><|{{ part['type'] }}|><|end_of_{{ part['type'] }}|>{% endif %}"
    "{% endfor %}{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
# As GLM-4.6V's: its switch writes behind the question and behind the assistant's header.
_OFF = "{% if enable_thinking is defined and not enable_thinking %}"
_GLM_SWITCHED_TEMPLATE = _GLM_TEMPLATE.replace(
    "{% endfor %}{% endif %}{% endfor %}", f"{{% endfor %}}{{% endif %}}{_OFF}/nothink{{% endif %}}{{% endfor %}}"
).replace("<|assistant|>\n", f"<|assistant|>\n{_OFF}<think></think>\n{{% endif %}}")


def glm_tokenizer() -> PreTrainedTokenizerFast:
    """The embedded tokenizer with GLM's special tokens and chat template."""
    tokenizer = build_tokenizer(LINES)
    tokenizer.add_special_tokens({"additional_special_tokens": _GLM_TOKENS, "eos_token": "<|user|>"})
    tokenizer.chat_template = _GLM_TEMPLATE
    return tokenizer


# Special tokens by their names in a config.
FAMILY_TOKENS = {
    "qwen": {
        **{"image": "<|image_pad|>", "video": "<|video_pad|>"},
        **{"vision_start": "<|vision_start|>", "vision_end": "<|vision_end|>"},
    },
    "glm": {
        **{"image": "<|image|>", "image_start": "<|begin_of_image|>", "image_end": "<|end_of_image|>"},
        **{"video": "<|video|>", "video_start": "<|begin_of_video|>", "video_end": "<|end_of_video|>"},
    },
}


def random_model(family: str, text: Settings, vision: Settings, seed: int, **tokens: int) -> PreTrainedModel:
    """A random model with these settings and those of its family."""
    more_text, more_vision = OF_FAMILY[family]
    if family == "qwen2_vl":  # its `hidden_size` is the width of what the tower gives
        more_vision = {**more_vision, "embed_dim": vision["hidden_size"], "hidden_size": vision["out_hidden_size"]}
    parts = {"text_config": {**more_text, **text}, "vision_config": {**vision, **more_vision}}
    config = AutoConfig.for_model(family, **deepcopy(parts), tie_word_embeddings=True, **tokens)  # it changes them
    torch.manual_seed(seed)
    model: PreTrainedModel = AutoModelForImageTextToText.from_config(config)
    for name, weight in model.named_parameters():
        if name.endswith("A_log"):  # at first a layer of linear attention forgets in a token or two what came before
            weight.data.uniform_(-5, -1)
    return model.eval()


def write_qwen2_5(out: Path) -> Path:
    """The embedded model, random, as a model folder."""
    tokenizer = build_tokenizer(LINES)
    _write(build_model(tokenizer, seed=1), tokenizer, out)
    return out


def write_random(family: str, out: Path, head_dim: int = 16, **wider: int) -> Path:
    """A random model with the embedded model's tokenizer and patch sizes.

    `wider` are other settings of its text's config.
    """
    is_glm = family.startswith("glm")
    tokenizer = glm_tokenizer() if is_glm else build_tokenizer(LINES)
    ids = tokenizer.get_vocab()
    # GLM's norms on results make rounding larger: with weights of 0.3 it is as large as what tests look for
    spread = 0.15 if is_glm else 0.3
    turned = head_dim // 2 if family.startswith(("glm", "qwen3_5")) else head_dim  # how much of a head positions turn
    width = 4 * head_dim  # Qwen2-VL's heads share it
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": width,
        "intermediate_size": 96,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": head_dim,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10_000.0,
            "mrope_section": [turned // 4, turned // 8, turned // 8],
            **({"partial_rotary_factor": 0.5} if is_glm else {}),
            **({"mrope_interleaved": True} if family.startswith("qwen3") else {}),  # vLLM heeds it in every family
        },
        "initializer_range": spread,
        **wider,
    }
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 2,
        "out_hidden_size": width,
        "patch_size": 8,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "initializer_range": spread,
    }
    media = FAMILY_TOKENS["glm" if is_glm else "qwen"]
    tokens = {f"{name}_token_id": ids[token] for name, token in media.items()}
    model = random_model(family, text, vision, seed=1, **tokens)
    if family.startswith("qwen3_5"):
        tokenizer.chat_template = thinking_template(str(tokenizer.chat_template))
    assert model.generation_config is not None
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    _write(model, tokenizer, out)
    return out


def write_glm46v_flash(out: Path, head_dim: int = 16) -> Path:
    """A random model as GLM-4.6V-Flash is published: of type `glm4v`, with GLM-4.6V's processor and template."""
    write_random("glm4v", out, head_dim)
    file = out / "preprocessor_config.json"
    names = {"processor_class": "Glm46VProcessor", "image_processor_type": "Glm46VImageProcessor"}
    write_settings(file, read_json(file) | names)
    (out / "chat_template.jinja").write_text(_GLM_SWITCHED_TEMPLATE)
    return out


write_qwen3 = partial(write_random, "qwen3_vl")
WRITERS: dict[str, Callable[[Path], Path]] = {family: partial(write_random, family) for family in OF_FAMILY} | {
    "qwen2_5_vl": write_qwen2_5
}


def _write(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    processor = build_image_processor()
    if model.config.model_type.startswith("glm"):
        same = {name: getattr(processor, name) for name in ("patch_size", "image_mean", "image_std", "size")}
        processor = Glm4vImageProcessorPil(**same)
    processor.save_pretrained(out)
    write_json(out / "pipeline.json", {"prompt": "plain"})


def question(
    sample_id: str = "clip-1",
    data_type: DataType = "video",
    problem: str = "Which way does it move?",
    options: tuple[str, ...] = ("A. left", "B. right"),
    answer: str = "B",
    process: str | None = None,
) -> Sample:
    """A multiple-choice question."""
    return Sample(
        sample_id=sample_id,
        source="test",
        data_type=data_type,
        problem_type="multiple choice",
        problem=problem,
        options=options,
        answer=answer,
        process=process,
        media_path="clip.mp4",
        media_sha256="0" * 64,
    )


def clip(frames: int = 4, height: int = 32, width: int = 48, fps: float = 4.0, seed: int = 0) -> Frames:
    """Frames of noise, `fps` a second: every second of their source."""
    pixels = np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)
    indices = np.arange(frames) * 2
    return Frames(pixels, indices, indices / (2 * fps), source_fps=2 * fps)


def picture(height: int = 32, width: int = 32, seed: int = 0) -> Frames:
    """An image of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (1, height, width, 3), dtype=np.uint8)
    return Frames(pixels, np.array([0]), np.array([0.0]), source_fps=0.0)

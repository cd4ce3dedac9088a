"""Model folders that other releases of transformers, and servers, read.

Qwen published its models in the layout of transformers 4. transformers 5 and vLLM read that layout as well, but
transformers 5 writes another one, which transformers 4.57 does not read.
"""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers.modeling_utils import PreTrainedModel

from stages.model.family import family_of
from stages.model.load import PIPELINE_FILE, PROCESSOR_FILES, ModelSource, load_tokenizer
from stages.model.turns import with_thinking
from stages.run.files import read_json, write_atomic

Settings = dict[str, Any]  # the content of one of Hugging Face's JSON files

TEMPLATE_FILE = "chat_template.jinja"
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
)


def save_model(
    model: PreTrainedModel, source: ModelSource, out: Path, state_dict: dict[str, Tensor] | None = None
) -> None:
    """Write a model folder that also loads elsewhere by plain `from_pretrained`.

    Tokenizer and processor are the files of `source`, because no training changes them. `state_dict` takes the place
    of the model's own weights where those are spread over processes (ZeRO-3). The folder appears at once, complete.
    """
    staging = out.with_name(f".{out.name}.tmp")
    shutil.rmtree(staging, ignore_errors=True)
    try:
        model.save_pretrained(staging, state_dict=state_dict)
        family = family_of(model.config)
        if family.transposed_experts:
            _transpose(staging, family.expert_weights)
        for name in (*TOKENIZER_FILES, *PROCESSOR_FILES):
            if (source.folder / name).exists():
                shutil.copyfile(source.folder / name, staging / name)
        template = load_tokenizer(source.folder).chat_template
        portable = family.portable_template(template, source.video_text)
        write_atomic(staging / TEMPLATE_FILE, with_thinking(portable, source.enable_thinking))
        make_portable(staging)
        write_settings(staging / PIPELINE_FILE, source.pipeline())
        _apply_umask(staging)
        shutil.rmtree(out, ignore_errors=True)
        staging.rename(out)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def make_portable(folder: Path) -> None:
    """Rewrite a model folder's settings so that releases read them alike."""
    vision = read_json(folder / "config.json")["vision_config"]
    factor = vision["patch_size"] * vision["spatial_merge_size"]
    layouts: dict[str, Callable[[Settings], Settings]] = {
        "config.json": _model_config,
        "generation_config.json": _generation_config,
        "tokenizer_config.json": _tokenizer_config,
        **{name: lambda settings: _keeping_small_frames(settings, factor) for name in PROCESSOR_FILES},
    }
    for name, layout in layouts.items():
        if (folder / name).exists():
            write_settings(folder / name, layout(read_json(folder / name)))


def write_settings(path: Path, settings: Settings) -> None:
    """Write one of Hugging Face's JSON files, its numbers unrounded."""
    write_atomic(path, json.dumps(settings, indent=2, ensure_ascii=False) + "\n")


def _model_config(config: Settings) -> Settings:
    """`rope_parameters` become the `rope_theta` and `rope_scaling` of transformers 4.

    transformers 4.57 knows no `rope_parameters`: it would place tokens without the sections of time, height and width.
    It takes `partial_rotary_factor`, and the tie of head and embedding, from the text's part, and calls
    `num_local_experts` `num_experts`. `use_cache: false` is a trace of training.
    """
    config = {name: value for name, value in config.items() if name != "use_cache"}
    text = dict(config["text_config"])
    if rope := text.pop("rope_parameters", None):
        text["rope_theta"] = rope["rope_theta"]
        text["rope_scaling"] = {name: value for name, value in rope.items() if name != "rope_theta"}
        if "partial_rotary_factor" in rope:
            text["partial_rotary_factor"] = rope["partial_rotary_factor"]
    if experts := text.pop("num_local_experts", None):
        text["num_experts"] = experts
    text["tie_word_embeddings"] = config["tie_word_embeddings"]
    return config | {"text_config": text}


def _generation_config(settings: Settings) -> Settings:
    """The token ids of generation_config.json alone.

    A server takes what a request does not name from here. A base model's penalty for repetition would change the
    answers of a model that was trained without one.
    """
    return {name: value for name, value in settings.items() if name.endswith(("_token_id", "_version"))}


def _tokenizer_config(settings: Settings) -> Settings:
    """The class and the special tokens under the names of transformers 4.

    The chat template stands in its own file. Traces of the folder that it was loaded from are left out.
    """
    unwanted = ("chat_template", "backend", "is_local", "local_files_only")
    settings = {name: value for name, value in settings.items() if name not in unwanted}
    if settings.get("tokenizer_class") == "TokenizersBackend":
        settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(settings.get("extra_special_tokens"), list):
        settings["additional_special_tokens"] = settings.pop("extra_special_tokens")
    return settings


def _keeping_small_frames(settings: Settings, factor: int) -> Settings:
    """No frame is so small that a server would enlarge it.

    `processor_config.json` holds the settings of images and videos one level deeper.
    """
    parts = {name: value for name, value in settings.items() if name in ("image_processor", "video_processor")}
    settings = settings | {name: _keeping_small_frames(part, factor) for name, part in parts.items()}
    if "shortest_edge" in settings.get("size", {}):
        settings["size"] = settings["size"] | {"shortest_edge": factor**2}
    if settings.get("min_pixels"):
        settings["min_pixels"] = factor**2
    return settings


def _transpose(folder: Path, names: tuple[str, ...]) -> None:
    """Swap rows and columns of the named weights [E, M, N].

    `names` are the ends of their names. transformers 5 transposes such weights where their shape is not the one it
    expects, and saves them as it keeps them. It cannot tell a square weight, which stays.
    """
    for shard in sorted(folder.glob("*.safetensors")):
        weights = load_file(shard)
        chosen = [name for name in weights if name.endswith(names) and weights[name].shape[1] != weights[name].shape[2]]
        if chosen:
            swapped = {name: weights[name].transpose(1, 2).contiguous() for name in chosen}
            save_file(weights | swapped, shard, metadata={"format": "pt"})


def _apply_umask(folder: Path) -> None:
    """Give the files of a folder the umask's mode.

    safetensors writes weights for their owner alone.
    """
    umask = os.umask(0)
    os.umask(umask)
    for file in folder.iterdir():
        file.chmod(0o666 & ~umask)

"""Model folders: Hugging Face files and `pipeline.json`.

The latter names the prompt style, or points to a model that lies elsewhere.
"""

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    StrictDataclassError,
)
from pydantic import BaseModel, ConfigDict, JsonValue, PositiveFloat, ValidationError
from safetensors import SafetensorError
from transformers.image_processing_utils import BaseImageProcessor
from transformers.modeling_utils import PreTrainedModel
from transformers.models.auto.configuration_auto import AutoConfig
from transformers.models.auto.modeling_auto import AutoModelForImageTextToText
from transformers.models.auto.tokenization_auto import AutoTokenizer
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX
from transformers.models.qwen3_5.tokenization_qwen3_5 import PRETOKENIZE_REGEX as PRETOKENIZE_QWEN3_5
from transformers.utils.logging import disable_progress_bar

from stages.data.prompt import PromptStyle
from stages.model.attention import use_vision_attention
from stages.model.families import FAMILIES
from stages.model.family import VideoText
from stages.run.errors import UserError
from stages.run.files import read_json

PIPELINE_FILE = "pipeline.json"

LARGEST_JSON = 1 << 26  # bytes; the largest tokenizer of the supported families has 12 MB
LARGEST_COUNT = 1000  # of layers and of pixels in a patch; a layer costs memory before the weights are read
# The steps of the supported families' tokenizers. Others can take hours for a line, or make gigabytes of it.
TOKENIZER_STEPS = {"BPE", "ByteLevel", "NFC", "Sequence", "Split", "TemplateProcessing"}
# GLM-4's tokenizer splits text as tiktoken's cl100k_base does: up to three digits together.
PRETOKENIZE_GLM = PRETOKENIZE_REGEX.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
PRETOKENIZE = {PRETOKENIZE_REGEX, PRETOKENIZE_QWEN3_5, PRETOKENIZE_GLM}

Precision = Literal["fp32", "bf16"]
DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}

if not sys.stderr.isatty():
    disable_progress_bar()  # in a log nobody watches the bars over a model's files
logging.getLogger("DeepSpeed").addFilter(
    lambda record: "Setting accelerator to CPU" not in record.getMessage()
)  # it says so unasked

# What transformers raises for a folder that it does not understand.
STRANGE = (
    *(OSError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RuntimeError, ImportError),
    *(SafetensorError, StrictDataclassError),
)
PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json", "video_preprocessor_config.json")
# Files that hold a JSON object, where a folder has them.
_OBJECTS = (
    *("config.json", "generation_config.json", "model.safetensors.index.json", "chat_template.json"),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json"),
    *PROCESSOR_FILES,
)
_HUB_FILES = ["*.json", "*.jinja", "*.txt", "*.safetensors"]  # no pickles, no code


@dataclass(frozen=True)
class ModelSource:
    """A model's folder of Hugging Face files, and how it is asked."""

    folder: Path
    prompt: PromptStyle
    video_text: VideoText
    enable_thinking: bool | None = None

    def pipeline(self) -> dict[str, str | bool]:
        """The content of a `pipeline.json` beside the files."""
        found: dict[str, str | bool] = {"prompt": self.prompt}
        if self.video_text != "frames":
            found["video_text"] = self.video_text
        if self.enable_thinking is not None:
            found["enable_thinking"] = self.enable_thinking
        return found


class PipelineFile(BaseModel):
    """What `pipeline.json` holds; `model` points to a model that lies elsewhere."""

    model_config = ConfigDict(extra="forbid", strict=True)

    prompt: PromptStyle = "video-r1"
    video_text: VideoText = "frames"
    enable_thinking: bool | None = None
    model: str | None = None
    revision: str | None = None


def resolve(path: Path) -> ModelSource:
    """The files and prompt style of a pipeline's model folder.

    A pointer that the base stage left is followed; a model on the hub is fetched if it is not there yet. UserError
    where no such folder is, and for a `pipeline.json` that no stage wrote.
    """
    if not path.is_dir():
        raise UserError(f"{path}: no such model folder; run the stage that writes it")
    file = path / PIPELINE_FILE
    try:
        pipeline = PipelineFile.model_validate(read_object(file)) if file.exists() else PipelineFile()
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise UserError(f"{file}: {wrong}; run the stage that writes the folder") from None
    folder = path if pipeline.model is None else find_model(pipeline.model, pipeline.revision)
    return ModelSource(folder, pipeline.prompt, pipeline.video_text, pipeline.enable_thinking)


def read_object(file: Path) -> dict[str, JsonValue]:
    """The JSON object in a file of a model folder.

    UserError for anything else, and for a file that is too large.
    """
    folder = file.parent
    if not file.is_file() or file.stat().st_size > LARGEST_JSON:
        raise UserError(f"{folder}: no readable {file.name} of a model: no file of at most {LARGEST_JSON >> 20} MiB")
    try:
        value = read_json(file)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{folder}: no readable {file.name} of a model: {' '.join(str(error).split())}") from None
    if not isinstance(value, dict):
        raise UserError(f"{folder}: no readable {file.name} of a model: no JSON object")
    return value


def find_model(name: str, revision: str | None, files: list[str] = _HUB_FILES) -> Path:
    """The folder of a model given by path or hub name.

    Files of the hub come from the local cache when the hub cannot be reached. UserError when the model is in neither
    place.
    """
    if Path(name).is_dir():
        return Path(name)
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=files))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise UserError(
            f"model '{name}' is neither a folder nor found on the hub: {str(error).splitlines()[0]}"
        ) from error


@contextmanager
def _reading(folder: Path, part: str) -> Iterator[None]:
    """UserError when transformers cannot read a part of a model folder."""
    try:
        yield
    except STRANGE as error:
        first = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(f"{folder}: no readable {part} of a model: {first}") from error


def load_config(folder: Path) -> Any:
    """The Hugging Face config of a folder.

    UserError when there is none, or one of a model family that is not supported.
    """
    for file in folder.glob("*.json"):
        if file.name in _OBJECTS:
            _check_code(folder, read_object(file))
    with _reading(folder, "config"):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    if config.model_type not in FAMILIES:
        raise UserError(f"{folder}: model type {config.model_type} is not supported; use one of {', '.join(FAMILIES)}")
    vision = config.vision_config
    counts = {"patch_size": vision.patch_size, "spatial_merge_size": vision.spatial_merge_size, "depth": vision.depth}
    counts |= {"temporal_patch_size": vision.temporal_patch_size, "layers": config.text_config.num_hidden_layers}
    for name, count in counts.items():
        if not 0 < count <= LARGEST_COUNT:
            raise UserError(f"{folder}: its config has {name} {count}; write 1 to {LARGEST_COUNT}")
    return config


def _check_code(folder: Path, value: JsonValue) -> None:
    """UserError for settings with which transformers fetches code from the hub."""
    for name, inner in value.items() if isinstance(value, dict) else ():
        if (name.endswith("_implementation") and "/" in str(inner)) or (name == "quantization_config" and inner):
            raise UserError(f"{folder}: its {name} would fetch code from the hub; take it out, and use plain weights")
        _check_code(folder, inner)


def load_model(path: Path, precision: Precision = "fp32") -> PreTrainedModel:
    """The model of a model folder, in eval mode.

    Weights come from safetensors only, and no code of a model's repository runs.
    """
    folder = resolve(path).folder
    load_config(folder)
    with _reading(folder, "weights"):
        model = AutoModelForImageTextToText.from_pretrained(
            folder, dtype=DTYPES[precision], attn_implementation="sdpa", use_safetensors=True, trust_remote_code=False
        ).eval()
    use_vision_attention(model)
    return model


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a folder, with the chat template that knows media.

    Qwen2.5-VL's files on the hub keep that template in `chat_template.json`.
    """
    with _reading(folder, "tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    _check_steps(folder, json.loads(tokenizer.backend_tokenizer.to_str()))
    if (folder / "chat_template.json").exists():
        tokenizer.chat_template = read_object(folder / "chat_template.json").get("chat_template")
    return tokenizer


def _check_steps(folder: Path, tokenizer: dict[str, Any]) -> None:
    """UserError for a tokenizer with steps that no supported family has."""
    waiting: list[JsonValue] = [part for name, part in tokenizer.items() if name not in ("model", "added_tokens")]
    waiting.append({"type": tokenizer["model"].get("type")})
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting += part
        elif isinstance(part, dict):
            waiting += part.values()
            if "type" in part and part["type"] not in TOKENIZER_STEPS:
                raise UserError(f"{folder}: its tokenizer has a step {part['type']}, which no supported family has")
            if part.get("Regex", PRETOKENIZE_REGEX) not in PRETOKENIZE:
                raise UserError(f"{folder}: its tokenizer splits text by an expression that no supported family has")


def load_processor_class(folder: Path) -> str | None:
    """The class of a model's processor, where the folder names one.

    The files are those in which transformers' AutoProcessor looks, in its order.
    """
    for name in (*PROCESSOR_FILES, "tokenizer_config.json"):
        if (folder / name).exists() and (found := read_object(folder / name).get("processor_class")):
            return str(found)
    return None


class _ImageStatistics(BaseModel):
    model_config = ConfigDict(allow_inf_nan=False)

    image_mean: tuple[float, float, float]
    image_std: tuple[PositiveFloat, PositiveFloat, PositiveFloat]


def load_image_statistics(folder: Path) -> tuple[list[float], list[float]]:
    """Mean and standard deviation per colour channel, of values in [0, 1]."""
    with _reading(folder, "image processor"):
        settings, _ = BaseImageProcessor.get_image_processor_dict(folder)
        try:
            statistics = _ImageStatistics.model_validate(settings)
        except ValidationError:
            raise ValueError("image_mean and image_std are three numbers each, image_std above 0") from None
    return list(statistics.image_mean), list(statistics.image_std)

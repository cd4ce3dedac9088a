"""Model folders: Hugging Face files and `pipeline.json`.

The latter names the prompt style, or points to a model that lies elsewhere.
"""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError
from transformers.image_processing_utils import BaseImageProcessor
from transformers.modeling_utils import PreTrainedModel
from transformers.models.auto.configuration_auto import AutoConfig
from transformers.models.auto.modeling_auto import AutoModelForImageTextToText
from transformers.models.auto.tokenization_auto import AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from stages.data.prompt import PromptStyle
from stages.model.attention import use_vision_attention
from stages.run.errors import UserError
from stages.run.files import read_json

FAMILIES = ("qwen2_5_vl", "qwen3_vl")
PIPELINE_FILE = "pipeline.json"

# Text around the timed frames of a Qwen3-VL video: none as in transformers 4.57, or one more start and end token as
# the published chat template gives with transformers 5.10 and later.
VideoText = Literal["frames", "enclosed"]

Precision = Literal["fp32", "bf16"]
DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}

if not sys.stderr.isatty():
    disable_progress_bar()  # in a log nobody watches the bars over a model's files
logging.getLogger("DeepSpeed").addFilter(
    lambda record: "Setting accelerator to CPU" not in record.getMessage()
)  # it says so unasked

_HUB_FILES = ["*.json", "*.jinja", "*.txt", "*.safetensors"]  # no pickles, no code


@dataclass(frozen=True)
class ModelSource:
    """A model's folder of Hugging Face files, and how it is asked."""

    folder: Path
    prompt: PromptStyle
    video_text: VideoText

    def pipeline(self) -> dict[str, str]:
        """The content of a `pipeline.json` beside the files."""
        return {"prompt": self.prompt} | ({} if self.video_text == "frames" else {"video_text": self.video_text})


def resolve(path: Path) -> ModelSource:
    """The files and prompt style of a pipeline's model folder.

    A pointer that the base stage left is followed; a model on the hub is fetched if it is not there yet. UserError
    where no such folder is.
    """
    if not path.is_dir():
        raise UserError(f"{path}: no such model folder; run the stage that writes it")
    pipeline = read_json(path / PIPELINE_FILE) if (path / PIPELINE_FILE).exists() else {}
    folder = find_model(pipeline["model"], pipeline["revision"]) if "model" in pipeline else path
    return ModelSource(folder, pipeline.get("prompt", "video-r1"), pipeline.get("video_text", "frames"))


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
    """UserError when part of a model folder is absent or cut off."""
    try:
        yield
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(f"{folder}: no readable {part} of a model: {str(error).splitlines()[0]}") from error


def load_config(folder: Path) -> Any:
    """The Hugging Face config of a folder.

    UserError when there is none, or one of a model family that is not supported.
    """
    with _reading(folder, "config"):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    if config.model_type not in FAMILIES:
        raise UserError(f"{folder}: model type {config.model_type} is not supported; use one of {', '.join(FAMILIES)}")
    return config


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
    if (folder / "chat_template.json").exists():
        tokenizer.chat_template = read_json(folder / "chat_template.json")["chat_template"]
    return tokenizer


def load_image_statistics(folder: Path) -> tuple[list[float], list[float]]:
    """Mean and standard deviation per colour channel, of values in [0, 1]."""
    with _reading(folder, "image processor"):
        settings, _ = BaseImageProcessor.get_image_processor_dict(folder)
    return settings["image_mean"], settings["image_std"]

"""Low-rank adapters on the language model's linear layers."""

import warnings
from typing import Any

from peft import LoraConfig, get_peft_model
from pydantic import Field
from transformers.modeling_utils import PreTrainedModel

from stages.run.params import Params

LINEAR_LAYERS = r".*language_model.*\.(q|k|v|o|gate|up|down)_proj"


class Lora(Params):
    """Rank and scale (alpha / rank) of the adapters."""

    rank: int = Field(default=16, ge=1)
    alpha: int = Field(default=32, ge=1)


def add_lora(model: PreTrainedModel, lora: Lora) -> Any:
    """The model with fresh adapters, which are all that is trained; `merge_and_unload` gives a plain model back."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated")  # peft still asks for it
        return get_peft_model(model, LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=LINEAR_LAYERS))

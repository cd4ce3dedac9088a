"""Low-rank adapters on the language model's linear layers."""

import warnings

from peft import LoraConfig, PeftModel, get_peft_model
from pydantic import Field
from transformers.modeling_utils import PreTrainedModel

from stages.run.params import Params

LINEAR_LAYERS = r".*language_model.*\.(q|k|v|o|gate|up|down)_proj"


class Lora(Params):
    """Rank and scale of the adapters."""

    rank: int = Field(default=16, ge=1, description="inner width of each adapter")
    alpha: int = Field(default=32, ge=1, description="an adapter's output is multiplied by alpha / rank")


def add_lora(model: PreTrainedModel, lora: Lora) -> PeftModel:
    """The model with fresh adapters; only these are trained.

    `merge_and_unload` of the result gives a plain model back.
    """
    config = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=LINEAR_LAYERS)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated")  # peft still asks for it
        adapted = get_peft_model(model, config)
    assert isinstance(adapted, PeftModel)  # the other type holds several kinds of adapters
    return adapted

"""Low-rank adapters on the language model and, if wanted, the vision tower."""

import hashlib
import shutil
import warnings
from pathlib import Path
from typing import Literal

from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from pydantic import Field
from safetensors.torch import save
from transformers.modeling_utils import PreTrainedModel

from stages.model.family import family_of
from stages.run.errors import UserError
from stages.run.params import Params

VisionTraining = Literal["frozen", "adapters", "full"]


class Lora(Params):
    """Rank and scale of the adapters."""

    rank: int = Field(default=16, ge=1, description="inner width of each adapter")
    alpha: int = Field(default=32, ge=1, description="an adapter's output is multiplied by alpha / rank")
    experts: bool = Field(
        default=False,
        description="adapters also on the experts of a mixture; a layer then adds them to a copy of all its experts",
    )
    vision: VisionTraining = Field(
        default="frozen",
        description="the vision tower beside the language model's adapters: frozen, with adapters of its own, or with "
        "all its weights trained (full)",
    )


def add_lora(model: PreTrainedModel, lora: Lora) -> PeftModel:
    """The model with fresh adapters in fp32.

    Only these are trained, and the vision tower if `lora` says so. A tower that is trained in full is a copy: with the
    adapters switched off, the model is the one it was. `merge_and_unload` of the result gives a plain model back.
    UserError for adapters on experts that the model lacks.
    """
    family = family_of(model.config)
    layers = family.language_layers
    if lora.vision == "adapters":
        layers += f"|{family.vision_layers}"
    whole = [family.vision] if lora.vision == "full" else None
    experts = list(family.expert_weights) if lora.experts else None
    if experts == []:
        kind = model.config.model_type
        raise UserError(f"lora.experts is for a mixture of experts, and {kind} has none: set it to false")
    config = LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, target_modules=layers, target_parameters=experts, modules_to_save=whole
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated")  # peft still asks for it
        adapted = get_peft_model(model, config)
    assert isinstance(adapted, PeftModel)  # the other type holds several kinds of adapters
    for weight in adapted.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()
    return adapted


def write_adapter(model: PeftModel, parent: Path) -> Path:
    """Write the adapters in PEFT's format, into a new folder of `parent`.

    The folder is named by the hash of their weights, so that one name stands for one set of weights. It appears at
    once, complete.
    """
    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    data = save({name: weight.detach().cpu().contiguous() for name, weight in state.items()})
    folder = parent / f"adapter-{hashlib.sha256(data).hexdigest()[:16]}"
    if not folder.exists():
        staging = parent / f".{folder.name}.tmp"
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        (staging / "adapter_model.safetensors").write_bytes(data)
        model.peft_config["default"].save_pretrained(str(staging))
        staging.rename(folder)
    return folder

"""Vision features that are encoded once per step.

Sampling, the reference and the policy share them. This is right while the vision tower is frozen.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TypeAlias

import torch
from torch import Tensor
from transformers.modeling_utils import PreTrainedModel

from stages.data.sample import DataType
from stages.model.inputs import Prompt, PromptBuilder, media_inputs

_METHODS: tuple[tuple[DataType, str, str, str], ...] = (
    ("video", "get_video_features", "pixel_values_videos", "video_grid_thw"),
    ("image", "get_image_features", "pixel_values", "image_grid_thw"),
)


Media: TypeAlias = Mapping[str, object]  # arguments of the model's forward: pixels and grids, or encoded media


@dataclass(frozen=True)
class Features:
    """One prompt's encoded media.

    merged_NH stands at its placeholder tokens. `deepstack` holds Qwen3-VL's features for deeper layers, [N, H] each.
    """

    data_type: DataType
    merged_NH: Tensor
    deepstack: tuple[Tensor, ...]


def pixel_media(builder: PromptBuilder, prompts: Sequence[Prompt], device: torch.device) -> dict[str, Tensor]:
    """The prompts' media as pixels, for a vision tower that is trained."""
    return builder.normalised({name: value.to(device) for name, value in media_inputs(prompts).items()})


@torch.no_grad()
def encode(model: PreTrainedModel, builder: PromptBuilder, prompts: Sequence[Prompt]) -> list[Features]:
    """The features of each prompt's media, from one pass per media type."""
    pixels = pixel_media(builder, prompts, model.device)
    features: dict[int, Features] = {}
    for data_type, method, values, grids in _METHODS:
        rows = [b for b, prompt in enumerate(prompts) if prompt.data_type == data_type]
        if rows:
            encoded = getattr(model, method)(pixels[values], pixels[grids])
            deepstack = zip(*getattr(encoded, "deepstack_features", ()), strict=True)
            for b, merged_NH in zip(rows, encoded.pooler_output, strict=True):
                features[b] = Features(data_type, merged_NH, next(deepstack, ()))
    return [features[b] for b in range(len(prompts))]


def media_of(features: Sequence[Features]) -> Callable[[Sequence[int]], Media]:
    """Gives the media of chosen prompts, for `generate`."""
    return lambda chosen: encoded_media([features[b] for b in chosen])


def encoded_media(features: Sequence[Features]) -> Media:
    """Features as the argument by which the model's forward takes encoded media."""
    encoded = {}
    for data_type, *_ in _METHODS:
        chosen = [feature for feature in features if feature.data_type == data_type]
        if chosen:
            deepstack = list(zip(*(feature.deepstack for feature in chosen), strict=True))
            encoded[data_type] = SimpleNamespace(
                pooler_output=tuple(feature.merged_NH for feature in chosen), deepstack_features=deepstack
            )
    return {"mm_encoder_outputs": encoded}

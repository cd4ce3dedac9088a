"""Media for the model: pixels, or features of a frozen vision tower."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TypeAlias

import torch
from torch import Tensor
from transformers.modeling_utils import PreTrainedModel

from stages.data.sample import DataType
from stages.model.inputs import Prompt, PromptBuilder, media_inputs
from stages.model.transfer import on_cpu, on_device

_METHODS: tuple[tuple[DataType, str, str, str], ...] = (
    ("video", "get_video_features", "pixel_values_videos", "video_grid_thw"),
    ("image", "get_image_features", "pixel_values", "image_grid_thw"),
)
GIB = 2**30


Media: TypeAlias = Mapping[str, object]  # arguments of the model's forward: pixels and grids, or encoded media


@dataclass(frozen=True)
class Features:
    """One prompt's encoded media.

    merged_NH stands at its placeholder tokens. `deepstack` holds Qwen3-VL's features for deeper layers, [N, H] each.
    """

    data_type: DataType
    merged_NH: Tensor
    deepstack: tuple[Tensor, ...]

    @property
    def size(self) -> int:
        """Bytes of all features."""
        return sum(tensor.nbytes for tensor in (self.merged_NH, *self.deepstack))

    def moved(self, move: Callable[[Tensor], Tensor]) -> "Features":
        """The features, each tensor moved."""
        return Features(self.data_type, move(self.merged_NH), tuple(map(move, self.deepstack)))


def pixel_media(builder: PromptBuilder, prompts: Sequence[Prompt], device: torch.device) -> dict[str, Tensor]:
    """The prompts' media as pixels, with a pass for each media type."""
    return builder.normalised({name: on_device(value, device) for name, value in media_inputs(prompts).items()})


def joint_media(
    builder: PromptBuilder, input_ids: Tensor, prompts: Sequence[Prompt], device: torch.device
) -> tuple[Tensor, dict[str, Tensor]]:
    """The ids and the media as pixels, which take one pass together.

    They are for a vision tower that is trained. The tower treats an image as a video of one frame, so that images take
    the placeholders of videos here. Under ZeRO-3 all processes must make the same passes, whatever media they have.
    `input_ids` hold the prompts in their order.
    """
    media = {
        "pixel_values_videos": torch.cat([prompt.patches_NK for prompt in prompts]),
        "video_grid_thw": torch.cat([prompt.grid_thw for prompt in prompts]),
    }
    ids = input_ids.where(input_ids != builder.vision_ids["image"], builder.vision_ids["video"])
    return ids, builder.normalised({name: on_device(value, device) for name, value in media.items()})


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


class FeatureCache:
    """Features of a frozen vision tower, kept for a clip's next visit.

    They lie in at most `gib` GiB of CPU memory, which is pinned where there is a GPU. The least recently used go first.
    Equal media share their features, whatever the question. Each clip has a pass of its own: its features then do not
    depend on clips beside it, not even by rounding, and what is kept changes no result. With 0 nothing is kept, and
    prompts are encoded together.
    """

    def __init__(self, gib: float) -> None:
        self._most, self._bytes = gib * GIB, 0
        self._kept = OrderedDict[bytes, Features]()

    def encode(
        self, model: PreTrainedModel, builder: PromptBuilder, prompts: Sequence[Prompt], once: Sequence[Prompt] = ()
    ) -> list[Features]:
        """The features of each prompt's media, then of `once`.

        Features of `once` are not kept.
        """
        if self._most == 0:
            return encode(model, builder, [*prompts, *once])
        kept = [self._features(model, builder, prompt) for prompt in prompts]
        return kept + [feature for prompt in once for feature in encode(model, builder, [prompt])]

    def _features(self, model: PreTrainedModel, builder: PromptBuilder, prompt: Prompt) -> Features:
        key = _content(prompt)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key].moved(lambda tensor: on_device(tensor, model.device))
        (features,) = encode(model, builder, [prompt])
        if features.size <= self._most:
            self._keep(key, features.moved(on_cpu))
        return features

    def _keep(self, key: bytes, features: Features) -> None:
        self._kept[key] = features
        self._bytes += features.size
        while self._bytes > self._most:
            self._bytes -= self._kept.popitem(last=False)[1].size


def _content(prompt: Prompt) -> bytes:
    """A key of the media: their kind, grid and pixels."""
    digest = hashlib.blake2b(f"{prompt.data_type} {prompt.grid_thw.tolist()}".encode(), digest_size=16)
    digest.update(prompt.patches_NK.numpy().data)
    return digest.digest()


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

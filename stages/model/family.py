"""What one family of models has for itself, behind one interface."""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from torch import Tensor, nn

from stages.data.sample import DataType
from stages.model.positions import Grid

# Text around the timed frames of a Qwen3-VL video: none as in transformers 4.57, or one more start and end token as
# the published chat template gives with transformers 5.10 and later.
VideoText = Literal["frames", "enclosed"]


@dataclass(frozen=True)
class Medium:
    """A clip or an image in a prompt.

    `merged` is the grid of merged patches, each of which is one token. pts_T are the times of the frames, in seconds.
    """

    data_type: DataType
    merged: Grid
    pts_T: np.ndarray


@dataclass(frozen=True)
class VisionSize:
    """Widths of a vision tower.

    `full_layers` is the number of layers in which a patch attends to its whole frame. In the others it attends to
    `window` patches. `deepstack` is the number of language layers that take vision features besides.
    """

    hidden: int
    intermediate: int
    full_layers: int
    window: int = 0
    deepstack: int = 0


@dataclass(frozen=True)
class Experts:
    """A mixture of `count` experts in each language layer.

    A token goes through `per_token` of them, each of which is `intermediate` wide, and through one of width `shared`
    that all tokens share.
    """

    count: int
    per_token: int
    intermediate: int
    shared: int = 0


@dataclass(frozen=True)
class Recurrence:
    """Linear attention in the language layers with these numbers.

    A layer has `heads` states of `key` x `value`, and a convolution over `kernel` tokens of `channels` values.
    """

    layers: tuple[int, ...]
    heads: int
    key: int
    value: int
    channels: int
    kernel: int


class Family(ABC):
    """The knowledge about one family.

    `config` is always a model's Hugging Face config.

    `end_token` ends the assistant's turn. `pads` are the placeholders of media in the chat template. In a prompt they
    are the vision tokens too, unless all media have one `shared_token`. `vision` is the name of the
    vision tower inside `model.model`. `language_layers` and `vision_layers` are regular expressions for the linear
    layers that adapters go on. `timed_frames` says whether a video is text with the time of each frame. Names of a
    router's weight and of experts' weights end with `router` and `expert_weights`. `transposed_experts` says whether
    published files hold the latter with inputs before outputs. `recurrent_layer` is transformers' class of linear
    attention with a recurrent state.
    """

    end_token: ClassVar[str]
    pads: ClassVar[Mapping[DataType, str]]
    shared_token: ClassVar[str | None] = None
    vision: ClassVar[str]
    language_layers: ClassVar[str]
    vision_layers: ClassVar[str]
    timed_frames: ClassVar[bool]
    router: ClassVar[tuple[str, ...]] = ()
    expert_weights: ClassVar[tuple[str, ...]] = ()
    recurrent_layer: ClassVar[type[nn.Module] | None] = None
    transposed_experts: ClassVar[bool] = False

    @abstractmethod
    def shown(self, turn: str, medium: Medium, config: Any, video_text: VideoText) -> tuple[str, int]:
        """The template's text with the medium, and the tokens of each placeholder.

        `turn` is the text that the chat template writes before the question. It holds one placeholder.
        """

    @abstractmethod
    def positions(self, is_vision_P: Tensor, medium: Medium, config: Any) -> Tensor:
        """Positions [3, P] in time, height and width of a prompt's tokens."""

    @abstractmethod
    def portable_template(self, template: str, video_text: VideoText) -> str:
        """The chat template with which releases write the same video text."""

    @abstractmethod
    def vision_size(self, config: Any) -> VisionSize:
        """The widths of the vision tower."""

    def as_processed(self, processor: str | None) -> "Family":
        """The family with the texts of a processor, given by its class.

        None where a folder names no processor. Most families have one text for all.
        """
        return self

    def vision_token(self, data_type: DataType) -> str:
        """The token that stands for each merged patch in a prompt."""
        return self.shared_token or self.pads[data_type]

    def passed_as(self, data_type: DataType) -> DataType:
        """The kind of media as which the model takes a medium.

        With a `shared_token` a forward cannot tell images from videos: an image is passed as a video of one frame.
        """
        return "video" if self.shared_token else data_type

    def experts(self, config: Any) -> Experts | None:
        """The experts of a layer; None for a dense model."""
        return None

    def recurrence(self, config: Any) -> Recurrence | None:
        """The layers of linear attention; None for a model without any."""
        return None

    def recurrent(self, config: Any) -> list[bool]:
        """Whether each language layer has a recurrent state.

        Such a layer has no keys and values.
        """
        found = self.recurrence(config)
        layers = found.layers if found else ()
        return [layer in layers for layer in range(config.text_config.num_hidden_layers)]

    def tower(self, model: Any) -> nn.Module:
        """The vision tower of a model."""
        return model.model.get_submodule(self.vision)


def family_of(config: Any) -> Family:
    """The family of a config that `load_config` has accepted."""
    return importlib.import_module(f"stages.model.families.{config.model_type}").FAMILY

"""Model inputs from a sample, its frames and their order.

Rollout, scoring, SFT and evaluation all build their inputs here.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from stages.data.prompt import TAGS, PromptStyle, question_text
from stages.data.sample import DataType, Sample
from stages.model.family import Medium, VideoText, family_of
from stages.model.load import load_config, load_image_statistics, load_processor_class, load_tokenizer, resolve
from stages.model.patchify import patchify
from stages.model.turns import Turns, with_thinking
from stages.run.errors import UserError
from stages.video.frame_store import Frames, FrameShape

IGNORE = -100  # label of a token that takes no part in the loss, as in torch's cross entropy
_INPUT_NAMES: dict[DataType, tuple[str, str]] = {
    "video": ("pixel_values_videos", "video_grid_thw"),
    "image": ("pixel_values", "image_grid_thw"),
}


class UnusableSample(UserError):
    """A sample that cannot be shown or trained on, with its reason."""

    def __init__(self, sample_id: str, reason: str, detail: str) -> None:
        super().__init__(f"{sample_id}: {detail}")
        self.reason = reason


@dataclass(frozen=True)
class Prompt:
    """One question about one order of frames, ready for the model.

    ids_P ends with the assistant's header. position_ids_3P holds the (time, height, width) position of each token;
    completion token t stands at next_position + t on all three axes. patches_NK holds bytes, which
    `PromptBuilder.normalised` turns into pixels on the device; grid_thw [1, 3] counts them. `data_type` is the kind of
    media as which the model takes them.
    """

    sample_id: str
    ids_P: Tensor
    position_ids_3P: Tensor
    next_position: int
    patches_NK: Tensor
    grid_thw: Tensor
    data_type: DataType


class PromptBuilder:
    """Builds prompts for one model folder.

    It holds the folder's tokenizer with its chat template, patch sizes, pixel statistics and prompt style.
    """

    def __init__(self, model_dir: Path, prompt_style: PromptStyle | None = None) -> None:
        """`prompt_style` takes the place of the folder's own."""
        source = resolve(model_dir)
        self.config = load_config(source.folder)
        self.family = family_of(self.config).as_processed(load_processor_class(source.folder))
        self.tokenizer = load_tokenizer(source.folder)
        self.tokenizer.chat_template = with_thinking(self.tokenizer.chat_template, source.enable_thinking)
        self.prompt_style: PromptStyle = prompt_style or source.prompt
        self.video_text: VideoText = source.video_text
        tokens = {kind: self.family.vision_token(kind) for kind in self.family.pads}
        self.vision_ids = {kind: self.tokenizer.convert_tokens_to_ids(token) for kind, token in tokens.items()}
        self._turns = Turns(self.tokenizer, self.family)
        added = self.tokenizer.added_tokens_decoder.items()
        self._unwritten = {number for number, token in added if token.special and token.content not in TAGS}
        vision = self.config.vision_config
        self._patch, self._merge = vision.patch_size, vision.spatial_merge_size
        self._temporal: int = vision.temporal_patch_size
        mean, std = (torch.tensor(values) * 255 for values in load_image_statistics(source.folder))
        per_channel = self._temporal * self._patch**2
        self._mean_K, self._std_K = mean.repeat_interleave(per_channel), std.repeat_interleave(per_channel)

    @property
    def factor(self) -> int:
        """Frame height and width must be multiples of this."""
        return self._patch * self._merge

    @property
    def max_tokens(self) -> int:
        """The most tokens that the model takes, prompt and answer together."""
        return self.config.text_config.max_position_embeddings

    @property
    def pad_id(self) -> int:
        """The token id that fills short rows; it is always masked."""
        return self.tokenizer.pad_token_id

    @property
    def end_id(self) -> int:
        """The id of the token that ends the assistant's turn."""
        return self.tokenizer.convert_tokens_to_ids(self.family.end_token)

    @property
    def opened(self) -> str:
        """The start of a thought that is part of each prompt.

        Qwen3.5's template has one. It is "" for most models.
        """
        return self._turns.opened

    @property
    def banned_ids(self) -> list[int]:
        """The ids of placeholder tokens, which must never be sampled.

        The model would look for pixels behind them.
        """
        return [self.config.video_token_id, self.config.image_token_id]

    def __call__(self, sample: Sample, frames: Frames, order_T: np.ndarray | None = None) -> Prompt:
        """The prompt of a sample, its frames shown in `order_T` if given.

        Frames are reordered before patchify, because patches merge neighbouring frames. A time belongs to a place in
        the sequence and stays there when the pictures move. An empty `order_T` gives the question alone.
        UnusableSample when the frame size does not fit the model's grid.
        """
        frames_THWC = frames.frames_THWC if order_T is None else frames.frames_THWC[order_T]
        count, height, width, _ = frames_THWC.shape
        medium = self._medium(sample, FrameShape(count, height, width, frames.pts_T))
        patches_NK, grid = patchify(frames_THWC, self._patch, self._merge, self._temporal)
        ids_P = self._token_ids(sample, medium)
        position_ids_3P = self.family.positions(ids_P == self.vision_ids[sample.data_type], medium, self.config)
        return Prompt(
            sample_id=sample.sample_id,
            ids_P=ids_P,
            position_ids_3P=position_ids_3P,
            next_position=int(position_ids_3P.max()) + 1,
            patches_NK=torch.from_numpy(np.ascontiguousarray(patches_NK)),
            grid_thw=torch.tensor([grid]),
            data_type=self.family.passed_as(sample.data_type),
        )

    def batch(
        self,
        prompts: Sequence[Prompt],
        completions: Sequence[Tensor] | None = None,
        padding: Literal["left", "right"] = "right",
        pixels: bool = True,
    ) -> dict[str, Tensor]:
        """Model inputs for prompts, each followed by its completion ids_C when given.

        Rows are padded to one length L: input_ids and attention_mask [B, L], position_ids [3, B, L] and, with
        completions, labels [B, L] (IGNORE outside them). With `pixels` there are also the media in row order: for
        each media type present its pixel values, still bytes, and its grids. Pass the inputs through `normalised` on
        the model's device.
        """
        if completions is None:
            rows = [_row(prompt) for prompt in prompts]
        else:
            rows = [_row_with_completion(*pair) for pair in zip(prompts, completions, strict=True)]
        length = max(len(row["input_ids"]) for row in rows)
        fill = {"input_ids": self.pad_id, "attention_mask": 0, "position_ids": 0, "labels": IGNORE}
        inputs = {
            name: torch.stack([_pad(row[name], length, fill[name], padding) for row in rows], dim=-2)
            for name in rows[0]
        }
        return inputs | (media_inputs(prompts) if pixels else {})

    def normalised(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """The inputs with normalised pixels.

        They are float32, (byte / 255 - mean) / std, computed on the device that holds the bytes.
        """
        return {
            name: self._pixels(value) if name.startswith("pixel_values") else value for name, value in inputs.items()
        }

    def completion_ids(self, text: str) -> Tensor:
        """The tokens ids_C that SFT teaches: `text` and the turn's end.

        Where the template has opened the thought, they begin inside it.
        """
        if self.opened and text.startswith("<think>"):
            text = text.removeprefix("<think>").lstrip()
        return torch.tensor([*self._text_ids(text), self.end_id])

    def decode(self, ids_C: Tensor) -> str:
        """The text of a completion, without special tokens.

        The tags of thoughts and answers stay, also where the tokenizer calls them special. The text begins with the
        start of a thought that the template has opened.
        """
        return self.opened + self.tokenizer.decode([token for token in ids_C.tolist() if token not in self._unwritten])

    def _pixels(self, patches_NK: Tensor) -> Tensor:
        device = patches_NK.device
        return (patches_NK.float() - self._mean_K.to(device)) / self._std_K.to(device)

    def prompt_length(self, sample: Sample, shape: FrameShape) -> int:
        """Tokens of the prompt of a sample with such frames.

        UnusableSample as in `__call__`.
        """
        return len(self._token_ids(sample, self._medium(sample, shape)))

    def check_length(self, sample_id: str, prompt: int, answer: int, max_prompt_tokens: int | None) -> None:
        """UnusableSample for a prompt that is too long.

        The limit is `max_prompt_tokens`, and what the model takes together with the answer.

        `answer` counts the tokens that follow the prompt.
        """
        limit = (
            self.max_tokens - answer if max_prompt_tokens is None else min(max_prompt_tokens, self.max_tokens - answer)
        )
        if prompt > limit:
            raise UnusableSample(
                sample_id,
                "prompt too long",
                f"the prompt has {prompt:,} tokens, more than {limit:,}; show fewer or smaller frames, or raise "
                f"max_prompt_tokens if it is set (with the answer, the model takes {self.max_tokens:,})",
            )

    def _medium(self, sample: Sample, shape: FrameShape) -> Medium:
        """The sample's medium with the grid of merged patches of such frames."""
        if shape.height % self.factor or shape.width % self.factor:
            raise UnusableSample(
                sample.sample_id,
                "frames do not fit the grid",
                f"frames of {shape.width}x{shape.height} do not fit the model's grid; set frames.factor (for a "
                f"benchmark: benchmark.defaults.factor) to take multiples of {self.factor} (patch size x merge size)",
            )
        steps = math.ceil(shape.count / self._temporal)
        merged = steps, shape.height // self.factor, shape.width // self.factor
        return Medium(sample.data_type, merged, shape.pts_T)

    def _token_ids(self, sample: Sample, medium: Medium) -> Tensor:
        """The tokens ids_P of a prompt that shows the medium.

        One without frames is not shown.

        Special tokens come from the chat template alone: the question is tokenised as text, whatever it holds.
        """
        shown = sample.data_type if medium.merged[0] > 0 else None
        turn, tokens = self._turns.of(shown), 1  # of each placeholder
        before = turn.before
        if shown:
            before, tokens = self.family.shown(before, medium, self.config, self.video_text)
        before_ids, after_ids = (torch.tensor(self._template_ids(part)) for part in (before, turn.after))
        repeats = torch.where(before_ids == self.vision_ids[sample.data_type], tokens, 1)
        text_ids = self._text_ids(turn.question(question_text(sample, self.prompt_style), shown))
        return torch.cat([before_ids.repeat_interleave(repeats), torch.tensor(text_ids, dtype=torch.long), after_ids])

    def _template_ids(self, text: str) -> list[int]:
        """Tokens of a part of the chat template, special tokens among them."""
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def _text_ids(self, text: str) -> list[int]:
        """Tokens of a record's text, which never become special tokens."""
        return self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]


def _row(prompt: Prompt) -> dict[str, Tensor]:
    mask_P = torch.ones_like(prompt.ids_P)
    return {"input_ids": prompt.ids_P, "attention_mask": mask_P, "position_ids": prompt.position_ids_3P}


def _row_with_completion(prompt: Prompt, ids_C: Tensor) -> dict[str, Tensor]:
    ids_L = torch.cat([prompt.ids_P, ids_C])
    positions_3C = (prompt.next_position + torch.arange(len(ids_C))).expand(3, -1)
    return {
        "input_ids": ids_L,
        "attention_mask": torch.ones_like(ids_L),
        "position_ids": torch.cat([prompt.position_ids_3P, positions_3C], dim=1),
        "labels": torch.cat([torch.full_like(prompt.ids_P, IGNORE), ids_C]),
    }


def _pad(values: Tensor, length: int, fill: int, side: Literal["left", "right"]) -> Tensor:
    missing = length - values.shape[-1]
    return torch.nn.functional.pad(values, (missing, 0) if side == "left" else (0, missing), value=fill)


def media_inputs(prompts: Sequence[Prompt]) -> dict[str, Tensor]:
    """Byte pixels and grids of prompts, by the model's argument names."""
    inputs = {}
    for data_type, (pixels, grids) in _INPUT_NAMES.items():
        if shown := [prompt for prompt in prompts if prompt.data_type == data_type and len(prompt.patches_NK)]:
            inputs[pixels] = torch.cat([prompt.patches_NK for prompt in shown])
            inputs[grids] = torch.cat([prompt.grid_thw for prompt in shown])
    return inputs

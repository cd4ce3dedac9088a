"""Dense alignment: the embedded model's pretraining.

Each merged vision token learns to name its cell's content.
Without it a cold start teaches the language and leaves the model blind.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler
from transformers.modeling_utils import PreTrainedModel

from stages.embedded.tiny import FRAME_SIZE, MERGE, PATCH, TEMPORAL_PATCH
from stages.embedded.world.scene import (
    COLOURS,
    COLUMNS,
    FRAMES,
    GRID,
    KINDS,
    LETTERS,
    ROWS,
    TINTS,
    Scene,
    draw,
    random_scene,
)
from stages.model.inputs import PromptBuilder
from stages.model.patchify import patchify
from stages.run.progress import progress_bar
from stages.video.resize import resize

SLOTS = ("colour", "shape", "row", "column")
SHOWN_FRAMES = 8
_NONE = -1  # nothing to name


@dataclass(frozen=True)
class Clips:
    """A batch of rendered scenes.

    patches_NK: uint8 patches. grid_thw: [B, 3]. names_MS: for each of the M merged tokens, the token ids that it should
    name in the four slots. An empty cell is named by the backdrop's tint alone, so that only a thing gives a place.
    """

    patches_NK: Tensor
    grid_thw: Tensor
    names_MS: Tensor


def align(
    model: PreTrainedModel, builder: PromptBuilder, steps: int, clips: int, learning_rate: float, seed: int
) -> dict[str, float]:
    """Train the vision tower and the tied head in place.

    There are `steps` batches of `clips` random scenes each. Returns `hits` on a fresh batch.
    """
    batches = random_clips(builder, clips, np.random.default_rng(seed))
    vision: torch.nn.Module = model.model.visual
    weights = [*vision.parameters(), model.get_input_embeddings().weight]
    optimizer = torch.optim.AdamW(weights, lr=learning_rate, weight_decay=0.0)
    schedule = one_cycle(optimizer, learning_rate, steps)
    for _ in progress_bar(range(steps), unit="step"):
        batch = next(batches)
        loss = naming_loss(_logits(model, builder, batch), batch.names_MS)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        batch = next(batches)
        return hits(_logits(model, builder, batch), batch.names_MS)


def one_cycle(optimizer: torch.optim.Optimizer, learning_rate: float, steps: int) -> LRScheduler:
    """The learning rate rises for a tenth of the steps, then falls.

    Few steps have one step up and one down: OneCycleLR divides by the length of either way, which must not be zero.
    """
    total = max(steps, 3)
    share = 0.1 if total > 10 else 2 / total
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=total, pct_start=share)


def naming_loss(logits_MV: Tensor, names_MS: Tensor) -> Tensor:
    """Cross entropy against the uniform distribution over a token's names.

    It is the mean over all names.
    """
    named_MS = names_MS != _NONE
    logps_MS = logits_MV.log_softmax(dim=1).gather(1, names_MS.clamp(min=0))
    return -logps_MS[named_MS].mean()


def hits(logits_MV: Tensor, names_MS: Tensor) -> dict[str, float]:
    """Per slot, the share of things named among the four likeliest tokens.

    Empty cells do not count.
    """
    things_M = names_MS[:, SLOTS.index("shape")] != _NONE
    top_M4 = logits_MV[things_M].topk(len(SLOTS), dim=1).indices
    return {
        slot: float((top_M4 == names_MS[things_M, index, None]).any(dim=1).float().mean())
        for index, slot in enumerate(SLOTS)
    }


def random_clips(builder: PromptBuilder, clips: int, rng: np.random.Generator) -> Iterator[Clips]:
    """Endless batches of random scenes, drawn, resized and named."""
    chosen = np.linspace(0, FRAMES - 1, SHOWN_FRAMES).round().astype(int)
    grids = SHOWN_FRAMES // TEMPORAL_PATCH
    ids = {word: _word_id(word, builder) for word in (*COLOURS, *TINTS, *KINDS, *LETTERS, *ROWS, *COLUMNS)}
    while True:
        scenes = [random_scene(rng) for _ in range(clips)]
        frames = [resize(draw(scene)[chosen], FRAME_SIZE, FRAME_SIZE, "pillow") for scene in scenes]
        patches = [patchify(frames_THWC, PATCH, MERGE, TEMPORAL_PATCH)[0] for frames_THWC in frames]
        yield Clips(
            torch.from_numpy(np.concatenate(patches)),
            torch.tensor([[grids, FRAME_SIZE // PATCH, FRAME_SIZE // PATCH]] * clips),
            torch.tensor([names for scene in scenes for names in _names(scene, ids)]),
        )


def _names(scene: Scene, ids: dict[str, int]) -> Iterator[list[int]]:
    """Ids of the four names of each cell, moment by moment.

    A moment fills one temporal patch.
    """
    for spots in scene.moments:
        things = {(spot.row, spot.col): spot for spot in spots}
        for row, col in product(range(GRID), range(GRID)):
            spot = things.get((row, col))
            if spot:
                yield [ids[spot.colour], ids[spot.kind], ids[ROWS[row]], ids[COLUMNS[col]]]
            else:
                yield [ids[scene.tint], _NONE, _NONE, _NONE]


def _word_id(word: str, builder: PromptBuilder) -> int:
    """The id of a word inside a sentence.

    The tokenizer's training text makes each of these words one token.
    """
    (token,) = builder.tokenizer.encode(f" {word}", add_special_tokens=False)
    return token


def _logits(model: PreTrainedModel, builder: PromptBuilder, batch: Clips) -> Tensor:
    """The tied head's logits at each merged vision token, [M, V]."""
    pixels = builder.normalised({"pixel_values_videos": batch.patches_NK})["pixel_values_videos"]
    features = model.model.visual(pixels, grid_thw=batch.grid_thw).pooler_output
    return model.lm_head(features)

"""Tiny random models of all families, and prompts without a tokenizer."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from stages.data.sample import DataType
from stages.data.shards import ShardStore
from stages.model.families import FAMILIES
from stages.model.family import family_of
from stages.model.inputs import Prompt
from stages.run.files import write_table
from stages.video.frame_rows import row_from_frames
from stages.video.frame_store import FRAME_KEYS_SCHEMA, SCHEMA, FrameReader, Frames
from tests.model.tiny_models import random_model

IMAGE, VIDEO, END = 90, 91, 92
TEXT = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]},
    "initializer_range": 0.3,
}
VISION = {
    "depth": 2,
    "num_heads": 2,
    "patch_size": 4,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
    "hidden_size": 16,
    "intermediate_size": 24,
    "out_hidden_size": 32,
    "initializer_range": 0.3,
}
IDS = {
    "image_token_id": IMAGE,
    "video_token_id": VIDEO,
    "vision_start_token_id": 93,
    "vision_end_token_id": 94,
}


def tiny_model(family: str, seed: int = 0) -> Any:
    """A random model without a tokenizer."""
    return random_model(family, TEXT, VISION, seed, **IDS)


@pytest.fixture(params=FAMILIES)
def model(request: pytest.FixtureRequest) -> Any:
    """A tiny model of one family after the other."""
    return tiny_model(request.param)


def tiny_prompt(data_type: DataType, before: int, after: int, seed: int) -> Prompt:
    """Text, two frames of 4 tokens each (an image: one), text.

    `before` and `after` count the tokens of text.
    """
    generator = torch.Generator().manual_seed(seed)
    frames = 2 if data_type == "video" else 1
    vision = frames * 4
    text = torch.randint(0, 90, (before + after,), generator=generator)
    pad = torch.full((vision,), VIDEO if data_type == "video" else IMAGE)
    time, height, width = torch.meshgrid(torch.arange(frames), torch.arange(2), torch.arange(2), indexing="ij")
    grid_3N = torch.stack([time, height, width]).flatten(1) + before
    after_3N = (grid_3N.max() + 1 + torch.arange(after)).expand(3, -1)
    return Prompt(
        sample_id=f"{data_type}-{seed}",
        ids_P=torch.cat([text[:before], pad, text[before:]]),
        position_ids_3P=torch.cat([torch.arange(before).expand(3, -1), grid_3N, after_3N], dim=1),
        next_position=int(after_3N.max()) + 1,
        patches_NK=torch.randint(0, 256, (frames * 16, 3 * 2 * 16), generator=generator, dtype=torch.uint8),
        grid_thw=torch.tensor([[frames, 4, 4]]),
        data_type=data_type,
    )


def taken(prompts: Sequence[Prompt], model: Any) -> list[Prompt]:
    """The prompts as the model takes them, whose family may have one token for all media."""
    family = family_of(model.config)
    if family.shared_token is None:
        return list(prompts)
    return [
        replace(each, ids_P=each.ids_P.where(each.ids_P != VIDEO, IMAGE), data_type=family.passed_as(each.data_type))
        for each in prompts
    ]


def tiny_media(prompts: Sequence[Prompt]) -> dict[str, torch.Tensor]:
    """Pixels and grids of the prompts, as the model's forward takes them."""
    media = {}
    for data_type, pixels, grid in (
        ("video", "pixel_values_videos", "video_grid_thw"),
        ("image", "pixel_values", "image_grid_thw"),
    ):
        chosen = [prompt for prompt in prompts if prompt.data_type == data_type]
        if chosen:
            media[pixels] = torch.cat([prompt.patches_NK for prompt in chosen]).float() / 127.5 - 1
            media[grid] = torch.cat([prompt.grid_thw for prompt in chosen])
    return media


def write_frames(root: Path, media: Mapping[str, Frames]) -> FrameReader:
    """The reader of a new store of frames, given by sample id."""
    ShardStore(root / "frames", SCHEMA).append(
        [row_from_frames(sample_id, frames, 95) for sample_id, frames in media.items()]
    )
    write_table(
        root / "frames.parquet",
        [{"sample_id": sample_id, "frame_key": sample_id} for sample_id in media],
        FRAME_KEYS_SCHEMA,
    )
    return FrameReader(root / "frames", root / "frames.parquet")

"""Prompts against what each family's own processor and model gave for the same frames.

recorded.json has token ids, positions, and some pixels of the folders of `WRITERS`, as AutoProcessor and
`get_rope_index` of the named release of transformers gave them. test_elsewhere.py compares with a release that is
installed.
"""

import json
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from stages.model.families import FAMILIES
from stages.model.inputs import PromptBuilder
from stages.model.load import ModelSource, load_model
from stages.model.save import save_model
from tests.model.tiny_models import WRITERS, clip, question

RECORDED: list[dict[str, Any]] = json.loads(Path(__file__).with_name("recorded.json").read_text())
VIDEO = clip(frames=5, height=32, width=48, fps=2.0)  # the last frame has no pair
IMAGE = replace(VIDEO, frames_THWC=VIDEO.frames_THWC[:1], indices_T=VIDEO.indices_T[:1], pts_T=VIDEO.pts_T[:1])


def test_a_video_and_an_image_of_every_family_are_recorded() -> None:
    assert {(row["family"], row["kind"]) for row in RECORDED} == set(product(FAMILIES, ("video", "image")))


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda row: f"{row['family']}-{row['release']}-{row['kind']}")
def test_a_prompt_equals_that_of_the_familys_own_processor(recorded: dict[str, Any], tmp_path: Path) -> None:
    source = WRITERS[recorded["family"]](tmp_path / "source")
    save_model(load_model(source), ModelSource(source, "plain", recorded["video_text"]), tmp_path / "saved")
    builder = PromptBuilder(tmp_path / "saved")
    prompt = builder(question(data_type=recorded["kind"]), VIDEO if recorded["kind"] == "video" else IMAGE)
    assert prompt.ids_P.tolist() == recorded["ids"]
    assert prompt.position_ids_3P.tolist() == recorded["positions"]
    assert prompt.next_position == recorded["next"]
    assert prompt.grid_thw.tolist() == recorded["grid"]
    (pixels_NK,) = (
        value for name, value in builder.normalised(builder.batch([prompt])).items() if name.startswith("pixel_values")
    )
    assert pixels_NK[::17, ::97].flatten()[:12].tolist() == pytest.approx(recorded["pixels"], abs=1e-5)
    assert float(pixels_NK.double().square().sum()) == pytest.approx(recorded["squares"], rel=1e-6)

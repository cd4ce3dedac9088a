"""Saved models give the same tokens, pixels and logits in other releases of transformers.

Set TRANSFORMERS_PYTHONS to the Pythons of environments that have transformers, torch and torchvision, with `:` between
them. docs/ci.md says how to make one of transformers 4.57. Set VIDEO_R1_RUN to a folder in which `dvc repro` has run
for the embedded models.
"""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from stages.data.prompt import question_text
from stages.data.sample import DataType
from stages.model.adapters import Lora, add_lora
from stages.model.inputs import Prompt, PromptBuilder
from stages.model.load import ModelSource, load_model, resolve
from stages.model.save import save_model
from tests.conftest import finished_run
from tests.model.published import write_published
from tests.model.tiny_models import clip, question

PYTHONS = [Path(python) for python in os.environ.get("TRANSFORMERS_PYTHONS", "").split(os.pathsep) if python]
PROGRAM = Path(__file__).with_name("elsewhere.py")
FRAMES = clip(frames=4, height=16, width=32, fps=2.0)
QUESTION = question()

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not PYTHONS, reason="TRANSFORMERS_PYTHONS names no Python with another transformers"),
]


@pytest.fixture(params=PYTHONS, ids=lambda python: python.parents[1].name)
def python(request: pytest.FixtureRequest) -> Path:
    return request.param


def elsewhere(python: Path, folder: Path, work: Path) -> dict[str, Any]:
    """What the folder gives there, for the model's inputs of a video here.

    The test is skipped where the release is older than the family, which the release must say in one line.
    """
    build = PromptBuilder(folder)
    inputs = build.normalised(build.batch([build(QUESTION, FRAMES)]))
    text = question_text(QUESTION, build.prompt_style)
    torch.save({"inputs": inputs, "text": text, "frames": FRAMES.frames_THWC, "fps": 2.0}, work / "inputs.pt")
    command = [python, PROGRAM, folder, work / "inputs.pt", work / "out.pt"]
    ran = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": ""}, check=False)
    unknown = f"has model type `{build.config.model_type}` but Transformers does not recognize this architecture"
    if ran.returncode and (said := [line for line in ran.stderr.splitlines() if unknown in line]):
        pytest.skip(said[-1])
    assert ran.returncode == 0, ran.stderr[-3000:]
    return torch.load(work / "out.pt", weights_only=False)


def assert_equal(folder: Path, found: dict[str, Any]) -> None:
    """The logits, tokens and pixels of the folder here and there are the same numbers.

    Releases add up the interpolated position embeddings of Qwen3-VL's vision in different orders: its logits differ by
    rounding.
    """
    build, model = PromptBuilder(folder), load_model(folder)
    video = build(QUESTION, FRAMES)
    with torch.no_grad():
        logits = model(**build.normalised(build.batch([video]))).logits
    rounding = 1e-4 if build.config.model_type.startswith("qwen3_vl") else 0.0
    torch.testing.assert_close(found["logits"], logits, rtol=0, atol=rounding)
    ids = build.tokenizer(question_text(QUESTION, build.prompt_style))["input_ids"]
    assert found["ids"] == {"auto": ids, "processor": ids}
    image = build(question(data_type="image"), clip(frames=1, height=16, width=32, fps=2.0))
    prompts: dict[DataType, tuple[Prompt, str]] = {"video": (video, "_videos"), "image": (image, "")}
    for kind, (prompt, suffix) in prompts.items():
        there = found[kind]
        assert there["input_ids"][0].tolist() == prompt.ids_P.tolist()
        assert torch.equal(there[f"{kind}_grid_thw"], prompt.grid_thw)
        shown = "_videos" if prompt.data_type == "video" else ""
        pixels = build.normalised(build.batch([prompt]))[f"pixel_values{shown}"]
        torch.testing.assert_close(there[f"pixel_values{suffix}"], pixels, rtol=0, atol=1e-6)


def test_a_full_model_is_the_same_elsewhere(python: Path, model_dir: Path, tmp_path: Path) -> None:
    save_model(load_model(model_dir), resolve(model_dir), tmp_path / "saved")
    assert_equal(tmp_path / "saved", elsewhere(python, tmp_path / "saved", tmp_path))


def test_a_model_trained_from_published_files_is_the_same_elsewhere(
    python: Path, qwen2_5: Path, tmp_path: Path
) -> None:
    source = write_published(qwen2_5, tmp_path / "source")
    save_model(load_model(source), ModelSource(source, "plain", "frames"), tmp_path / "saved")
    assert_equal(tmp_path / "saved", elsewhere(python, tmp_path / "saved", tmp_path))


def test_merged_adapters_are_the_same_elsewhere(python: Path, model_dir: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model: Any = add_lora(load_model(model_dir), Lora(rank=2))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)  # it starts as zeros, which change nothing
    save_model(model.merge_and_unload(), resolve(model_dir), tmp_path / "saved")
    assert_equal(tmp_path / "saved", elsewhere(python, tmp_path / "saved", tmp_path))


@pytest.mark.parametrize("name", ["base", "sft", "tgrpo"])
def test_the_embedded_models_are_the_same_elsewhere(python: Path, name: str, tmp_path: Path) -> None:
    folder = finished_run() / "models" / name
    assert_equal(folder, elsewhere(python, folder, tmp_path))


def test_the_published_template_gives_the_tokens_that_video_text_names(
    python: Path, qwen3: Path, tmp_path: Path
) -> None:
    """transformers 4.57 replaces the start and end token around a video, 5.10 and later keep them."""
    save_model(load_model(qwen3), ModelSource(qwen3, "plain", "enclosed"), tmp_path / "enclosed")
    found = elsewhere(python, tmp_path / "enclosed", tmp_path)
    release = tuple(int(part) for part in found["release"].split(".")[:2])
    builder = PromptBuilder(tmp_path / "enclosed" if release >= (5, 10) else qwen3)
    assert found["video"]["input_ids"][0].tolist() == builder(QUESTION, FRAMES).ids_P.tolist()

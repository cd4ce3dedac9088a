"""Writes recorded.json, which test_processors.py compares with.

    python -m tests.model.record PYTHON...

Each PYTHON has one of the releases of transformers in `RELEASES`, with torch and torchvision; docs/ci.md says how to
make such an environment.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypedDict

from stages.data.sample import DataType
from stages.model.family import VideoText
from stages.model.load import ModelSource, load_model
from stages.model.save import save_model
from tests.model.test_elsewhere import elsewhere
from tests.model.tiny_models import WRITERS, clip

FILE = Path(__file__).with_name("recorded.json")
VIDEO = clip(frames=5, height=32, width=48, fps=2.0)  # the last frame has no pair
# The families and video texts for which a release's processors are the measure.
RELEASES: Mapping[str, Mapping[VideoText, tuple[str, ...]]] = {
    "4.57.6": {"frames": ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe")},
    "5.19.0": {
        "enclosed": ("qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe"),
        "frames": ("qwen3_5", "qwen3_5_moe"),
    },
}


class Recorded(TypedDict):
    """A prompt as a release's processor and model gave it.

    `pixels` are some of the normalised values, `squares` is the sum of the squares of all.
    """

    family: str
    release: str
    video_text: VideoText
    kind: DataType
    ids: list[int]
    positions: list[list[int]]
    next: int
    grid: list[list[int]]
    pixels: list[float]
    squares: float


def rows(python: Path, family: str, video_text: VideoText, release: str, work: Path) -> Iterator[Recorded]:
    """The rows of a family's video and image."""
    source, saved = WRITERS[family](work / "source"), work / "saved"
    save_model(load_model(source), ModelSource(source, "plain", video_text), saved)
    found = elsewhere(python, saved, work, VIDEO)
    kinds: dict[DataType, str] = {"video": "pixel_values_videos", "image": "pixel_values"}
    for kind, name in kinds.items():
        prompt: dict[str, Any] = found[kind]
        pixels_NK = prompt[name]
        yield {
            "family": family,
            "release": release,
            "video_text": video_text,
            "kind": kind,
            "ids": prompt["input_ids"][0].tolist(),
            "positions": prompt["positions"][:, 0].tolist(),
            "next": prompt["next"],
            "grid": prompt[f"{kind}_grid_thw"].tolist(),
            "pixels": [round(value, 5) for value in pixels_NK[::17, ::97].flatten()[:12].tolist()],
            "squares": round(float(pixels_NK.double().square().sum()), 3),
        }


def main(pythons: list[Path]) -> None:
    """Ask each release and write the file."""
    recorded = []
    for python, (release, texts) in zip(pythons, RELEASES.items(), strict=True):
        for video_text, families in texts.items():
            for family in families:
                with TemporaryDirectory() as work:
                    recorded += rows(python, family, video_text, release, Path(work))
    FILE.write_text("[\n" + ",\n".join(json.dumps(row) for row in recorded) + "\n]\n")


if __name__ == "__main__":
    main([Path(python) for python in sys.argv[1:]])

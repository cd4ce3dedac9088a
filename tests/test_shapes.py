"""The shapes stage: real clips and pictures with Video-R1 records."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from stages.data.sample import Sample
from stages.data.sources import Source, read_source
from stages.embedded.world.questions import CUES, FAMILIES
from stages.embedded.world.scene import draw
from stages.shapes import ShapesParams, questions, run

PARAMS = ShapesParams(seed=3, sft=40, rl=30, benchmark=26)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shapes")
    run(PARAMS, out)
    return out


def records(out: Path, split: str) -> list[dict[str, Any]]:
    return json.loads((out / f"{split}.json").read_text())


def test_two_runs_write_the_same_bytes(shapes: Path, tmp_path: Path) -> None:
    run(PARAMS, tmp_path)
    files = sorted(path.relative_to(shapes) for path in shapes.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    assert len(files) == 40 + 30 + 26 + 3
    assert all((shapes / file).read_bytes() == (tmp_path / file).read_bytes() for file in files)


def test_another_seed_writes_other_questions() -> None:
    one, other = (list(questions(PARAMS.model_copy(update={"seed": seed}), "rl", 30)) for seed in (3, 4))
    assert one != other


def test_a_longer_split_starts_with_the_shorter_one_and_leaves_the_others_alone() -> None:
    assert list(questions(PARAMS, "sft", 50))[:40] == list(questions(PARAMS, "sft", 40))
    assert list(questions(PARAMS.model_copy(update={"sft": 9}), "rl", 30)) == list(questions(PARAMS, "rl", 30))


def test_each_clip_shows_its_scene_in_sixteen_frames(shapes: Path) -> None:
    drawn = [(f"sft-{number:05d}", question) for number, question in enumerate(questions(PARAMS, "sft", 40))]
    clips = [(name, question.scene) for name, question in drawn if question.data_type == "video"]
    assert len(clips) > 20
    for name, scene in clips:
        with av.open(str(shapes / "video" / f"{name}.mp4")) as container:
            frames = [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)]
        error_T = [np.abs(frame - true).mean() for frame, true in zip(frames, draw(scene).astype(int), strict=True)]
        assert max(error_T) < 5


def test_images_are_the_first_frame_without_loss(shapes: Path) -> None:
    pairs = list(zip(records(shapes, "benchmark"), questions(PARAMS, "benchmark", 26), strict=True))
    images = [(record, question) for record, question in pairs if record["data_type"] == "image"]
    assert len(images) == 6
    for record, question in images:
        np.testing.assert_array_equal(np.asarray(Image.open(shapes / record["path"])), draw(question.scene)[0])


def test_a_record_has_the_released_fields(shapes: Path) -> None:
    record = records(shapes, "benchmark")[0]
    assert record == {
        "problem_id": "benchmark-00000",
        "problem": "Which way does it move?",
        "data_type": "video",
        "problem_type": "multiple choice",
        "options": ["A. left", "B. right", "C. up", "D. down"],
        "solution": record["solution"],
        "path": "./video/benchmark-00000.mp4",
        "data_source": "shapes",
        "original_question_type": "direction",
    }
    assert record["solution"] in {f"<answer>{letter}</answer>" for letter in "ABCD"}


def test_ingestion_takes_every_record(shapes: Path) -> None:
    for split, count in (("sft", 40), ("rl", 30), ("benchmark", 26)):
        samples = list(read_source(Source(name="shapes", records=f"{split}.json"), shapes))
        assert len(samples) == count
        assert all(isinstance(sample, Sample) for sample in samples)


def test_ids_are_unique_over_the_splits(shapes: Path) -> None:
    ids = [record["problem_id"] for split in ("sft", "rl", "benchmark") for record in records(shapes, split)]
    assert len(set(ids)) == len(ids) == 96


def test_the_benchmark_has_each_family_equally_often(shapes: Path) -> None:
    assert Counter(record["original_question_type"] for record in records(shapes, "benchmark")) == dict.fromkeys(
        FAMILIES, 2
    )


def test_a_shortcut_is_planted_in_training_and_never_in_the_benchmark() -> None:
    params = ShapesParams(shortcut=1.0)

    def agreement(split: str) -> float:
        asked = [question for question in questions(params, split, 400) if question.family == "direction"]
        ways = FAMILIES["direction"].options
        return float(
            np.mean(
                [CUES["direction"][question.scene.tint] == ways["ABCD".index(question.answer)] for question in asked]
            )
        )

    assert agreement("sft") == agreement("rl") == 1
    assert agreement("benchmark") < 0.5

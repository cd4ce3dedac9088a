"""A prepared benchmark of seven questions, and evaluations of it."""

from pathlib import Path

import numpy as np

from stages.data.sample import DataType, Sample, write_rejects, write_samples
from stages.data.shards import ShardStore
from stages.evaluate import Candidate, EvaluateParams, Tables, run
from stages.evaluation.predictions import PredictionRow, read_predictions
from stages.evaluation.prepared import Wanted
from stages.run.files import write_table
from stages.video.frame_rows import row_from_frames
from stages.video.frame_store import FRAME_KEYS_SCHEMA, SCHEMA, Frames

PARAMS = EvaluateParams(max_new_tokens=6, batch_tokens=400, threads=1)


def prepare(folder: Path) -> None:
    """Write a benchmark of six clips, one without frames, and an image."""
    samples = [asked(f"v{index}", "direction", "Which way does it move? " * (1 + index % 3)) for index in range(6)]
    samples.append(asked("i0", "colour", "What colour is it?", "image"))
    write_samples(folder / "samples.parquet", samples)
    write_rejects(folder / "quarantine.parquet", [])
    rng = np.random.default_rng(0)
    rows = [
        row_from_frames(sample.sample_id, _frames(rng, 1 if sample.data_type == "image" else 4), None)
        for sample in samples
    ]
    ShardStore(folder / "frames", SCHEMA).append(rows)
    keys = [
        {"sample_id": sample.sample_id, "frame_key": sample.sample_id} for sample in samples if sample.sample_id != "v5"
    ]
    write_table(folder / "frames.parquet", keys, FRAME_KEYS_SCHEMA)


def evaluate(params: EvaluateParams, model: Path, place: Path, name: str = "") -> list[PredictionRow]:
    """The predictions of one run, which writes `<name>.parquet` and `<name>.json`."""
    predictions, metrics = place / f"{name or 'predictions'}.parquet", place / f"{name or 'metrics'}.json"
    run(params, Candidate(str(model), "tiny"), Wanted("shapes", place), Tables(predictions, metrics))
    return read_predictions(predictions)


def asked(sample_id: str, category: str = "", problem: str = "?", data_type: DataType = "video") -> Sample:
    return Sample(
        sample_id=sample_id,
        source="shapes",
        data_type=data_type,
        problem_type="multiple choice",
        problem=problem,
        options=("A. left", "B. right"),
        answer="B",
        media_path="m",
        media_sha256="0",
        category=category,
        split="test",
    )


def _frames(rng: np.random.Generator, n: int) -> Frames:
    pixels = rng.integers(0, 255, (n, 32, 48, 3), dtype=np.uint8)
    return Frames(pixels, np.arange(n), np.arange(n) / 2, 2.0 if n > 1 else 0.0)

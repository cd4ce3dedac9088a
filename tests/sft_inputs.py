"""Inputs of SFT in tests: ten small samples, an untrained model."""

import csv
import json
from pathlib import Path
from typing import Any

from stages.data.sample import TRAINING_SCHEMA
from stages.data.shards import ShardStore
from stages.run.files import write_table
from stages.sft import SftParams
from stages.video.frame_rows import row_from_frames
from stages.video.frame_store import SCHEMA
from tests.model.tiny_models import WRITERS, clip, picture, question
from tests.warm import Started, start

QUICK: dict[str, Any] = {
    "max_steps": 4,
    "batch_size": 4,
    "samples_per_forward": 4,
    "learning_rate": 1e-3,
    "precision": "fp32",
    "gradient_checkpointing": False,
    "save_steps": 2,
    "seed": 1,
}
LORA = {"rank": 4, "alpha": 8}


def quick(**changes: Any) -> SftParams:
    return SftParams.model_validate(QUICK | changes)


def write_inputs(folder: Path, family: str = "qwen2_5_vl") -> dict[str, Path]:
    """The arguments of `run` on ten samples.

    Their thoughts have different lengths, and every third shows an image.
    """
    samples, rows = [], []
    for number in range(10):
        data_type = "image" if number % 3 == 2 else "video"
        process = f"<think>{'it moves right, ' * (number % 4 + 1)}option B.</think>"
        samples.append(question(f"sample-{number}", data_type, process=process))
        frames = picture(seed=number) if data_type == "image" else clip(frames=4, height=32, width=32, seed=number)
        rows.append(row_from_frames(f"key-{number}", frames, jpeg_quality=95))
    ShardStore(folder / "frames", SCHEMA).append(rows)
    table = [sample.model_dump() | {"frame_key": row["key"]} for sample, row in zip(samples, rows, strict=True)]
    write_table(folder / "sft.parquet", table, TRAINING_SCHEMA)
    WRITERS[family](folder / "base")
    return {
        "samples": folder / "sft.parquet",
        "frame_store": folder / "frames",
        "model": folder / "base",
        "out": folder / "sft",
        "metrics": folder / "sft.json",
        "plot": folder / "sft.csv",
    }


def start_sft(
    params: SftParams, inputs: dict[str, Path], folder: Path, processes: int, by_launcher: bool = False
) -> Started:
    """The stage in `folder`, in so many warm processes, or in cold ones that `stages.launch` starts.

    The plot is gone before.
    """
    (folder / "params.yaml").write_text(json.dumps({"sft": params.model_dump()}))
    inputs["plot"].unlink(missing_ok=True)
    flags = [part for name, path in inputs.items() for part in (f"--{name.replace('_', '-')}", str(path))]
    if by_launcher:
        return start("stages.launch", ["--processes", str(processes), "sft", *flags], folder)
    return start("stages.sft", flags, folder, processes)


def steps(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def folder_bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}

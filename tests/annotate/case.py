"""A small annotation in the current folder.

Its inputs, its parameters and its run.
"""

from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow.parquet as pq

from stages.annotate import run
from stages.chat.annotation_parameters import AnnotateParams
from stages.data.annotations import AnnotationRow
from stages.data.sample import Sample, write_samples
from stages.data.shards import ShardStore
from stages.run.files import write_table
from stages.video.frame_rows import row_from_frames
from stages.video.frame_store import FRAME_KEYS_SCHEMA, SCHEMA, Frames

OUTPUTS = ("responses", "annotations.parquet", "annotate.json")


def write_inputs(count: int) -> None:
    """`count` samples of the SFT set, with 4 grey frames each.

    One more belongs to the RL set, and one has no frames.
    """
    template = Sample(
        sample_id="",
        source="shapes",
        data_type="video",
        problem_type="multiple choice",
        problem="",
        options=("A. left", "B. right"),
        answer="A",
        media_path="a.mp4",
        media_sha256="aa",
        split="sft",
    )
    samples = [template.model_copy(update={"sample_id": f"s{i}", "problem": f"question {i}?"}) for i in range(count)]
    samples.append(template.model_copy(update={"sample_id": "for-rl", "problem": "for RL?", "split": "rl"}))
    samples.append(template.model_copy(update={"sample_id": "no-frames", "problem": "no frames?"}))
    write_samples(Path("samples.parquet"), samples)
    shades = [
        Frames(np.full((4, 28, 28, 3), i % 256, dtype=np.uint8), np.arange(4), np.arange(4.0), 1.0)
        for i in range(count + 1)
    ]
    ShardStore(Path("frames"), SCHEMA).append(row_from_frames(f"k{i}", frames, 95) for i, frames in enumerate(shades))
    write_table(
        Path("frames.parquet"),
        [{"sample_id": one.sample_id, "frame_key": f"k{i}"} for i, one in enumerate(samples[:-1])],
        FRAME_KEYS_SCHEMA,
    )


def parameters(url: str, **changes: object) -> AnnotateParams:
    return AnnotateParams.model_validate(
        {
            "base_url": url,
            "model": "teacher",
            "prompt": "plain",
            "concurrency": 4,
            "retries": 1,
            "timeout_s": 1.0,
            **changes,
        }
    )


def annotate(params: AnnotateParams, dry_run: bool = False) -> list[AnnotationRow]:
    paths = {name: Path(f"{name}.parquet") for name in ("samples", "annotations")}
    run(
        params,
        frame_store=Path("frames"),
        frame_keys=Path("frames.parquet"),
        responses=Path("responses"),
        metrics=Path("annotate.json"),
        dry_run=dry_run,
        **paths,
    )
    return cast(list[AnnotationRow], pq.read_table("annotations.parquet").to_pylist()) if not dry_run else []


def content(*names: str) -> dict[str, bytes]:
    files = [
        file for name in names for file in ([Path(name)] if Path(name).is_file() else sorted(Path(name).rglob("*")))
    ]
    return {str(file): file.read_bytes() for file in files}


def named(faults: dict[str, str]) -> Callable[[str, int], str]:
    """Faults by the first line of the question; everything else is answered."""
    return lambda text, attempt: faults.get(text.splitlines()[0], "ok")


def only_once(calls: list[str]) -> bool:
    return len(calls) == len(set(calls))

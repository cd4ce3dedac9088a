"""Runs the filter stage on literal samples and answers."""

from pathlib import Path
from typing import Any

from stages.data.annotations import ANNOTATION_SCHEMA, AnnotationRow, Status
from stages.data.sample import Sample, write_samples
from stages.filter import FilterParams, run
from stages.run.files import write_table


def sample(number: int, split: str, **changes: object) -> Sample:
    """Sample `s<number>`, a question with answer A."""
    fields = {
        "sample_id": f"s{number}",
        "source": "shapes",
        "data_type": "video",
        "problem_type": "multiple choice",
        "problem": "Which way does it move?",
        "options": ("A. left", "B. right"),
        "answer": "A",
        "media_path": f"media/{number}.mp4",
        "media_sha256": f"sha{number}",
        "split": split,
    }
    return Sample.model_validate(fields | changes)


def annotation(number: int, text: str, status: Status = "ok", detail: str = "") -> AnnotationRow:
    """An answer of the teacher about sample `s<number>`."""
    return {
        "sample_id": f"s{number}",
        "request_key": f"key{number}",
        "status": status,
        "detail": detail,
        "text": text,
        "prompt_tokens": 100,
        "completion_tokens": 20,
    }


GOOD, WRONG = "<think>it goes left</think>\n<answer>A</answer>", "<think>it goes right</think>\n<answer>B</answer>"


def filtered(
    folder: Path, params: FilterParams, samples: list[Sample], annotations: list[AnnotationRow], **more: Any
) -> dict[str, Path]:
    """The files that the stage wrote into `folder`, by parameter.

    `more` are further parameters of the stage.
    """
    write_samples(folder / "samples.parquet", samples)
    write_table(folder / "annotations.parquet", annotations, ANNOTATION_SCHEMA)
    inputs = {name: folder / f"{name}.parquet" for name in ("samples", "annotations")}
    outputs = {name: folder / f"{name}.parquet" for name in ("sft", "rl", "rejects")} | {
        "metrics": folder / "filter.json"
    }
    run(params, **inputs, **outputs, **more)
    return outputs

"""Samples that ask about given media, and parameters for their frames."""

from pathlib import Path
from typing import Any

from stages.data.sample import DataType, Sample
from stages.video.extract import ExtractParams
from stages.video.probe import media_sha256

PARAMS: dict[str, Any] = {
    "policy": "uniform",
    "max_frames": 8,
    "min_pixels": 1,
    "max_pixels": 160 * 96,
    "factor": 2,
    "kernel": "pillow",
    "workers": 1,
    "timeout_s": 60.0,
    "memory_mb": 1024,
    "max_rejected": 0.5,
}


def params(**changes: object) -> ExtractParams:
    return ExtractParams.model_validate({**PARAMS, **changes})


def sample(
    sample_id: str, path: Path, data_type: DataType = "video", start: float | None = None, end: float | None = None
) -> Sample:
    return Sample(
        sample_id=sample_id,
        source="test",
        data_type=data_type,
        problem_type="numerical",
        problem="Which number?",
        answer="1",
        media_path=str(path),
        media_sha256=media_sha256(path),
        clip_start=start,
        clip_end=end,
    )

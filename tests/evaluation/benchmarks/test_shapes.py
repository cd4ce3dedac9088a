"""The embedded benchmark's records."""

import json
from pathlib import Path

import pytest

from stages.data.sample import Sample
from stages.evaluation.benchmarks import shapes


def test_records_become_samples_with_their_family(tmp_path: Path) -> None:
    record = {"problem_id": "b0", "problem": "Which way?", "data_type": "video", "problem_type": "multiple choice"}
    record |= {"options": ["A. left", "B. right"], "solution": "<answer>B</answer>", "path": "./video/b0.mp4"}
    (tmp_path / "benchmark.json").write_text(json.dumps([record | {"original_question_type": "direction"}]))
    (tmp_path / "video").mkdir()
    (tmp_path / "video" / "b0.mp4").touch()
    (sample,) = shapes.read(tmp_path)
    assert isinstance(sample, Sample)
    assert (sample.sample_id, sample.category, sample.split) == ("shapes-b0", "direction", "test")


def test_families_without_time_are_not_temporal() -> None:
    assert "direction" in shapes.BENCHMARK.temporal
    assert not shapes.BENCHMARK.temporal & {"colour", "shape", "count", "image-colour"}


def test_fractional_types_keep_their_fraction_officially_and_use_the_papers_scorer_in_its_profile() -> None:
    sample = Sample(
        sample_id="q",
        source="shapes",
        data_type="video",
        problem_type="regression",
        problem="How far?",
        answer="50",
        media_path="m",
        media_sha256="0",
    )
    assert shapes.BENCHMARK.score("60", sample, "official") == pytest.approx(0.8)
    # 20 % off: strictly below 1 - t for t = .50 … .75, six of ten thresholds (at .80 float32 gives 0.2 < 0.19999999:
    # no)
    assert shapes.BENCHMARK.score("60", sample, "video-r1") == pytest.approx(0.6)

"""LongVideo-Reason: options inside the question, videos in any folder."""

import json
from pathlib import Path

import pytest

from stages.data.sample import Reject, Sample
from stages.evaluation.benchmarks import longvideo_reason


@pytest.mark.parametrize("file", ["test.json", "data/test-00000.json"])
def test_the_official_layout_is_read_and_options_leave_the_question(tmp_path: Path, file: str) -> None:
    problem = "What happens\nafter the break?\nA. They lose.\nB. They win.\nC. It rains.\nD. A dog runs."
    row = {
        "problem_id": 7,
        "problem": problem,
        "problem_type": "temporal",
        "answer": "<answer>B</answer>",
        "videos": "longvila_videos/c.webm",
    }
    broken = row | {"problem_id": 8, "problem": "Who is the man?\n\n"}
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(json.dumps([row, broken]))
    (tmp_path / "longvideo_eval_subset7").mkdir()
    (tmp_path / "longvideo_eval_subset7" / "c.webm").touch()
    sample, reject = longvideo_reason.read(tmp_path)
    assert isinstance(sample, Sample)
    assert (sample.sample_id, sample.category, sample.answer) == ("longvideo_reason-7", "temporal", "B")
    assert (sample.problem, len(sample.options), sample.options[1]) == (
        "What happens\nafter the break?",
        4,
        "B. They win.",
    )
    assert sample.media_path.endswith("longvideo_eval_subset7/c.webm")
    assert isinstance(reject, Reject)
    assert reject.reason == "answer not among the options"


def test_officially_the_text_in_the_tags_must_be_the_letter() -> None:
    fields = {
        "sample_id": "q",
        "source": "l",
        "data_type": "video",
        "problem_type": "multiple choice",
        "problem": "?",
        "answer": "B",
    }
    sample = Sample.model_validate(fields | {"options": ("A. x", "B. y"), "media_path": "m", "media_sha256": "0"})
    assert [longvideo_reason.BENCHMARK.score(text, sample, "official") for text in ("B", "B.", "C", None)] == [
        1,
        0,
        0,
        0,
    ]

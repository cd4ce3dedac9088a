"""Video-MME with subtitles: which lines a question gets."""

from pathlib import Path

import numpy as np
import pytest

from stages.data.sample import Sample
from stages.evaluation.benchmarks import get_benchmark, videomme_subtitles
from stages.run.errors import UserError

SRT = """1
00:00:01,000 --> 00:00:02,500
Hello
there

2
00:00:03,000 --> 00:00:04,000
<i>Nobody sees this.</i>

3
01:00:00.000 --> 01:00:02,000 X1:40 X2:600
An hour later.
"""


def test_a_subtitle_file_is_read_with_times_in_seconds() -> None:
    expected = [(1.0, 2.5, "Hello there"), (3.0, 4.0, "Nobody sees this."), (3600.0, 3602.0, "An hour later.")]
    assert videomme_subtitles.read_srt(SRT) == expected
    assert videomme_subtitles.read_srt(SRT.replace("\n", "\r\n")) == expected
    assert videomme_subtitles.read_srt("no subtitles\n\nat all") == []


def test_a_question_gets_the_lines_that_are_on_screen_in_its_frames(tmp_path: Path) -> None:
    (tmp_path / "subtitle").mkdir()
    (tmp_path / "subtitle" / "abc.srt").write_text(SRT)
    pts_T = np.array([0.0, 2.0, 2.5, 3601.0])
    asked = videomme_subtitles.with_subtitles(_sample("data/abc.mp4"), pts_T, tmp_path)
    assert asked.problem == "This video's subtitles are listed below:\nHello there\nAn hour later.\nWho is it?"
    silent = videomme_subtitles.with_subtitles(_sample("data/xyz.mp4"), pts_T, tmp_path)
    assert silent.problem == "This video's subtitles are listed below:\nNo subtitles available\nWho is it?"


@pytest.mark.parametrize(
    ("line", "reason"),
    [("x" * 200_001, "more than 200,000 characters"), ("[INST]", "the text holds [INST]")],
)
def test_subtitles_that_no_prompt_can_hold_are_one_line(tmp_path: Path, line: str, reason: str) -> None:
    (tmp_path / "subtitle").mkdir()
    (tmp_path / "subtitle" / "abc.srt").write_text(SRT.replace("Hello", line))
    with pytest.raises(UserError) as error:
        videomme_subtitles.with_subtitles(_sample("data/abc.mp4"), np.array([2.0]), tmp_path)
    assert f"abc.srt: {reason}" in str(error.value)


def test_without_any_subtitles_there_is_no_such_run(tmp_path: Path) -> None:
    (tmp_path / "subtitle").mkdir()
    with pytest.raises(UserError, match="subtitle: no subtitles"):
        list(videomme_subtitles.read(tmp_path))


def test_subtitles_are_a_run_of_their_own() -> None:
    assert get_benchmark("videomme").finish is None
    assert get_benchmark("videomme_subtitles").finish is videomme_subtitles.with_subtitles


def _sample(path: str) -> Sample:
    fields = {
        "sample_id": "q",
        "source": "v",
        "data_type": "video",
        "problem_type": "multiple choice",
        "problem": "Who is it?",
        "answer": "A",
    }
    return Sample.model_validate(fields | {"options": ("A. x", "B. y"), "media_path": path, "media_sha256": "0"})

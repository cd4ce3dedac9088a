"""Reading public record files: media by other names, records that cannot be used, and the two adapters without golden data."""

import json
from pathlib import Path

import pytest

from stages.benchmarks import BENCHMARKS, get_benchmark, mmvu, videomme
from stages.benchmarks.records import find_media
from stages.data.answer import letter_of, lettered
from stages.data.errors import UserError
from stages.data.sample import Reject, Sample


def test_media_are_found_under_their_real_suffix_or_without_the_evaluation_folder(tmp_path: Path) -> None:
    (tmp_path / "VSIBench").mkdir()
    clip = tmp_path / "VSIBench" / "a.webm"
    clip.touch()
    assert find_media(tmp_path, "./Evaluation/VSIBench/a.mp4") == clip
    assert find_media(tmp_path, "VSIBench/a.mp4") == clip
    assert find_media(tmp_path, "VSIBench/b.mp4") is None


def test_options_get_letters_once() -> None:
    assert lettered(["red", "blue"]) == ["A. red", "B. blue"]
    assert lettered(["A. red", "B) blue"]) == ["A. red", "B) blue"]
    assert letter_of("blue ", ["red", "blue"]) == "B"


def test_a_record_without_its_fields_is_a_reject_and_the_next_one_is_read(tmp_path: Path) -> None:
    good = {"video_id": "001", "videoID": "x", "question_id": "001-1", "duration": "short", "question": "Who?", "answer": "A"}
    rows = ["not a record", {"question": "Who?"}, good | {"options": ["A. he", "B. she"]}]
    (tmp_path / "videomme").mkdir()
    (tmp_path / "videomme" / "test.json").write_text(json.dumps(rows))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x.mkv").touch()
    broken, incomplete, found = videomme.read(tmp_path)
    assert [type(item) for item in (broken, incomplete, found)] == [Reject, Reject, Sample]
    assert isinstance(incomplete, Reject)
    assert (incomplete.reason, incomplete.detail) == ("invalid record", "KeyError: 'question_id'")
    assert isinstance(found, Sample)
    assert (found.sample_id, found.category, Path(found.media_path).name) == ("videomme-001-1", "short", "x.mkv")


def test_a_folder_without_records_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"neither eval_mmvu.json nor validation\* is there"):
        list(mmvu.read(tmp_path))


def test_open_mmvu_questions_are_not_scored_and_choices_are(tmp_path: Path) -> None:
    rows = [
        {"id": "v1", "video": "https://hub/resolve/main/videos/Art/0.mp4", "question_type": "multiple-choice", "question": "Which?"}
        | {"choices": {"A": "one", "B": "two"}, "answer": "B", "metadata": {"subject": "Art"}},
        {"id": "v2", "video": "videos/Art/1.mp4", "question_type": "open-ended", "question": "Why?", "choices": {}, "answer": "rain"},
    ]
    (tmp_path / "validation.json").write_text(json.dumps(rows))
    (tmp_path / "videos" / "Art").mkdir(parents=True)
    for name in ("0.mp4", "1.mp4"):
        (tmp_path / "videos" / "Art" / name).touch()
    choice, open_question = [sample for sample in mmvu.read(tmp_path) if isinstance(sample, Sample)]
    assert (choice.options, choice.category) == (("A. one", "B. two"), "Art")
    assert mmvu.BENCHMARK.score("(B)", choice, "official") == 1
    assert mmvu.BENCHMARK.score("(B)", choice, "video-r1") == 0
    assert mmvu.BENCHMARK.score("rain", open_question, "official") is None


def test_an_unknown_benchmark_names_the_nearest() -> None:
    assert get_benchmark("shapes") is BENCHMARKS["shapes"]
    with pytest.raises(UserError, match="did you mean 'vsi_bench'"):
        get_benchmark("vsibench")

"""MVBench: the paper's file and the official layout, with their media traps."""

import json
from collections import Counter
from pathlib import Path

from stages.data.sample import Reject, Sample
from stages.evaluation.benchmarks import mvbench
from stages.evaluation.metrics import summarise
from stages.evaluation.statistics import nested_weights
from stages.evaluation.text_summary import summary_text
from stages.run.files import read_json
from tests.evaluation.toy import scored_row


def test_the_papers_evaluation_file_is_read_whole_unclipped_and_with_what_the_media_really_are(
    testdata: Path, tmp_path: Path
) -> None:
    records = read_json(testdata / "records" / "eval_mvbench.sample.json")
    (tmp_path / "eval_mvbench.json").write_text(json.dumps(records))
    real = {"ssv2_video": ".webm", "nturgbd": ".avi"}
    for record in records:
        media = tmp_path / record["path"]
        folder = record["path"].split("/")[3]
        media.parent.mkdir(parents=True, exist_ok=True)
        if folder == "tvqa":
            media.with_suffix("").mkdir(exist_ok=True)
        else:
            media.with_suffix(real.get(folder, ".mp4")).touch()
    samples = [sample for sample in mvbench.read(tmp_path) if isinstance(sample, Sample)]
    assert len(samples) == 500
    assert {sample.clip_start for sample in samples} == {None}
    assert samples[0].media_path.endswith("ssv2_video/166583.webm")
    assert Counter(sample.category for sample in samples) == dict.fromkeys(mvbench.FOLDERS, 25)
    assert sum(Path(sample.media_path).is_dir() for sample in samples) == 25


def test_a_record_of_the_papers_file_that_is_not_where_it_was_has_its_folder_for_a_category(tmp_path: Path) -> None:
    record = {
        "problem_id": 1,
        "problem": "What?",
        "problem_type": "multiple choice",
        "options": ["A. x"],
        "solution": "A",
    }
    clips = {1: "ssv2_video/1.mp4", 2: "clevrer/video_validation/2.mp4", 4001: "clevrer/video_validation/2.mp4"}
    records = [
        record | {"problem_id": number, "path": f"./Evaluation/MVBench/{clip}"} for number, clip in clips.items()
    ]
    (tmp_path / "eval_mvbench.json").write_text(json.dumps(records))
    for clip in clips.values():
        (tmp_path / "video" / clip).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "video" / clip).touch()
    samples = [sample for sample in mvbench.read(tmp_path) if isinstance(sample, Sample)]
    assert [sample.category for sample in samples] == ["action_antonym", "clevrer", "clevrer"]


def test_the_official_layout_takes_bounds_and_the_tasks_own_folder(tmp_path: Path) -> None:
    row = {
        "video": "AB.mp4",
        "question": "What next?",
        "candidates": ["Sit.", "Run."],
        "answer": "Run.",
        "start": 1.5,
        "end": 4.0,
    }
    for task in ("action_sequence", "object_existence"):
        (tmp_path / "json").mkdir(exist_ok=True)
        (tmp_path / "json" / f"{task}.json").write_text(json.dumps([row]))
    clip = tmp_path / "video" / "star" / "Charades_v1_480" / "AB.mp4"
    clip.parent.mkdir(parents=True)
    clip.touch()
    found, missing = mvbench.read(tmp_path)
    assert isinstance(found, Sample)
    assert (found.options, found.answer, found.clip_start, found.clip_end) == (("A. Sit.", "B. Run."), "B", 1.5, 4.0)
    assert (found.media_path, found.category) == (str(clip), "action_sequence")
    assert isinstance(missing, Reject)
    assert missing.reason == "missing media"


def test_official_mean_is_over_tasks() -> None:
    paths = [
        mvbench.group(category, "multiple choice", "official")
        for category in ("state_change", "moving_count", "moving_count")
    ]
    assert nested_weights(paths).tolist() == [1 / 2, 1 / 4, 1 / 4]


def test_other_records_of_the_papers_kind_get_their_task_or_none_and_the_official_mean_says_so(tmp_path: Path) -> None:
    """EasyVideoR1's files name no `Evaluation` folder and number differently."""
    record = {"problem": "What?", "problem_type": "multiple choice", "options": ["A. x", "B. y"], "solution": "B"}
    clips = ["./video/ssv2_video/1.mp4", "./perception/videos/2.mp4", "nturgbd/3.avi"]
    records = [record | {"problem_id": f"q{number}", "path": clip} for number, clip in enumerate(clips)]
    records[1]["original_question_type"] = "object_shuffle"
    records.append(record | {"problem_id": "q9", "path": "./perception/videos/2.mp4"})
    (tmp_path / "eval_mvbench.json").write_text(json.dumps(records))
    for clip in clips:
        (tmp_path / clip).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / clip).touch()
    samples = [sample for sample in mvbench.read(tmp_path) if isinstance(sample, Sample)]
    categories = [sample.category for sample in samples]
    assert categories == ["action_antonym", "object_shuffle", "fine_grained_pose", "perception"]

    rows = [scored_row(f"q{number}", official=1.0, category=name) for number, name in enumerate(categories)]
    whole, without = (
        summarise(rows[:3], 3, mvbench.BENCHMARK, "official"),
        summarise(rows, 4, mvbench.BENCHMARK, "official"),
    )
    assert (whole.headline["accuracy"], whole.n_no_category) == (1, 0)
    assert ("accuracy" in without.headline, without.n_no_category) == (False, 1)
    assert "no official mean, because 1 questions lack" in summary_text("m", "mvbench", "official", without)
    assert "accuracy" in summarise(rows, 4, mvbench.BENCHMARK, "video-r1").headline

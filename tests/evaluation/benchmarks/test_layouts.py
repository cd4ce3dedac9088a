"""Public benchmarks whose questions have options: records in the form of their official files."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.data.sample import Reject, Sample
from stages.evaluation.benchmarks import get_benchmark
from stages.run.errors import UserError

LVBENCH = {
    "key": "Cm73ma6Ibcs",
    "type": "cartoon",
    "qa": [
        {
            "uid": "55",
            "question": "Which year is it?\n(A) 1636\n(B) 1366\n(C) 1363\n(D) 1633",
            "answer": "D",
            "question_type": ["key information retrieval", "reasoning"],
            "time_reference": "00:15-00:19",
        },
        {"uid": "56", "question": "Who?\n(A) she\n(B) he", "answer": "A", "question_type": ["reasoning"]},
    ],
}
MOTIONBENCH = {
    "question_type": "Action Order",
    "video_type": "meme",
    "video_path": "m.mp4",
    "key": "m",
    "qa": [{"uid": "u1", "question": "What is first?\nA. jump\nB. run", "answer": "B", "start": 0.0, "end": 3.0}],
}
MVBENCH_LIKE = {"video": "c.mp4", "question": "Which way?", "candidates": ["left", "right"], "answer": "right"}
TOMATO = {
    "question": "Which way did the hand move?",
    "options": ["Up.", "Down.", "Left."],
    "answer": 2,
    "key": "0231-04",
    "motion_type": "direction",
    "variation": {"counterfactual": 0, "composite": 0, "zoom": 1, "first_person": 0},
    "demonstration_type": "human",
}
LONGVIDEOBENCH = {
    "video_id": "v",
    "question": "When the man waves, what is on the table?",
    "candidates": ["a cup", "a book", "a hat"],
    "correct_choice": 1,
    "question_category": "T3E",
    "id": "v_0",
    "video_path": "v.mp4",
    "subtitle_path": "v_en.json",
    "duration_group": 600,
}
VIDEOMATHQA = {
    "question_id": 7,
    "videoID": "q7",
    "question": "How long is the side?",
    "options": ["A. 1", "B. 2", "C. 3", "D. 4", "E. 5"],
    "answer": "E",
    "category": "Geometry Length",
    "steps": '{"1": "Read the table."}',
    "length": "short",
}
MINERVA = {
    "key": "vid1:abc",
    "video_id": "vid1",
    "question": "What happens?",
    **{f"answer_choice_{number}": f"choice {number}" for number in range(5)},
    "answer_id": "4",
    "answer": "choice 4",
    "reasoning": "At 0:10 it begins.",
    "question_type": "Temporal Reasoning, Counting",
    "split": "sports",
    "category": "tennis",
}
VIDEO_TT = {
    "qid": "0001-7",
    "video_id": "abc",
    "question_type": "Multiple-choice Question with a Single Correct Answer",
    "capability": "Element Counting",
    "question": "How many cups are there?\nA. one\nB. two\nC. three\nD. four",
    "question_prompt": "Please give the letter.",
    "answer": "C",
    "duration": "30",
    "youtube_url": "https://www.youtube.com/shorts/abc",
}
VCR_BENCH = {
    "id": 3,
    "video_path": "video/espresso/Film.2009__#01-14-42_label-0-0.mp4",
    "duration": 56,
    "dimension": "Video Plot Analysis",
    # The first option follows the question without a line between them, as in the official records.
    "question": "Why does he stop?A. He is tired.\nB. He sees her.\n",
    "multiple-choice": True,
    "choices": {"A": "He is tired.", "B": "He sees her.", "C": "", "D": ""},
    "answer": "B",
    "reasoning": ["1. 0:08-0:30, he walks.", "2. 0:30-0:33, he sees her."],
}
BLOCKS: dict[str, tuple[str, Any, str, tuple[str, str, str, str], int]] = {
    # name: the record's file, its content, the clip, (id, category, answer, its option), and how many options
    "lvbench": (
        "video_info.meta.jsonl",
        LVBENCH,
        "videos/Cm73ma6Ibcs.mp4",
        ("lvbench-55", "key information retrieval/reasoning", "D", "D. 1633"),
        4,
    ),
    "motionbench": (
        "MotionBench/video_info.meta.jsonl",
        MOTIONBENCH,
        "self-collected/m.mp4",
        ("motionbench-u1", "Action Order", "B", "B. run"),
        2,
    ),
    "tvbench": (
        "json/moving_direction.json",
        [MVBENCH_LIKE],
        "video/moving_direction/c.mp4",
        ("tvbench-json-moving_direction-record-1", "moving_direction", "B", "B. right"),
        2,
    ),
    "mlvu": (
        "MLVU/json/5_order.json",
        [MVBENCH_LIKE | {"candidates": ["2->1->3", "1->2->3"], "answer": "1->2->3"}],
        "MLVU/video/5_order/c.mp4",
        ("mlvu-MLVU-json-5_order-record-1", "order", "B", "B. 1->2->3"),
        2,
    ),
    "tomato": (
        "data/direction.json",
        {"0": TOMATO},
        "videos/human/0231-04.mp4",
        ("tomato-data-direction-0", "direction", "C", "C. Left."),
        3,
    ),
    "longvideobench": (
        "lvb_val.json",
        [LONGVIDEOBENCH],
        "videos/v.mp4",
        ("longvideobench-v_0", "T3E/600", "B", "B. a book"),
        3,
    ),
    "videomathqa": (
        "videomathqa_mcq_test.json",
        [VIDEOMATHQA],
        "videos/q7.mp4",
        ("videomathqa-7", "Geometry Length", "E", "E. 5"),
        5,
    ),
    "video_tt": (
        "data/test-00000-of-00001.json",
        [VIDEO_TT],
        "Benchmark-AllVideos-HQ/abc.mp4",
        ("video_tt-data-test-00000-of-00001-record-1", "Element Counting", "C", "C. three"),
        4,
    ),
    "vcr_bench": (
        "v1/videos/meta_info_video.json",
        [VCR_BENCH],
        "v1/videos/video/espresso/Film.2009__#01-14-42_label-0-0.mp4",
        ("vcr_bench-3", "Video Plot Analysis", "B", "B. He sees her."),
        2,
    ),
    "minerva": (
        "minerva.json",
        [MINERVA],
        "videos/vid1.mp4",
        ("minerva-vid1:abc", "Temporal Reasoning/Counting", "E", "E. choice 4"),
        5,
    ),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_the_official_layout_is_read_with_its_options_answer_and_category(name: str, tmp_path: Path) -> None:
    file, content, clip, expected, n_options = BLOCKS[name]
    write(tmp_path, file, content)
    (tmp_path / clip).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / clip).touch()
    sample, *others = list(get_benchmark(name).read(tmp_path))
    assert isinstance(sample, Sample), sample
    option = next(each for each in sample.options if each.startswith(sample.answer))
    assert (sample.sample_id, sample.category, sample.answer, option) == expected
    assert len(sample.options) == n_options
    assert all(each[3:] not in sample.problem for each in sample.options)
    assert sample.media_path == str(tmp_path / clip)
    assert len(others) == (name == "lvbench")  # two questions about its video
    assert get_benchmark(name).score(sample.answer, sample, "official") == 1


@pytest.mark.parametrize("name", BLOCKS)
def test_a_record_without_its_fields_or_its_clip_is_a_reject_with_a_reason(name: str, tmp_path: Path) -> None:
    file, content, _, _, _ = BLOCKS[name]
    write(tmp_path, file, content)
    assert {each.reason for each in get_benchmark(name).read(tmp_path) if isinstance(each, Reject)} == {"missing media"}
    write(tmp_path, file, {"0": {}} if name == "tomato" else [{"question": 3, "answer": "A"}])
    (reject,) = get_benchmark(name).read(tmp_path)
    assert isinstance(reject, Reject)
    assert reject.reason == "invalid record"


@pytest.mark.parametrize(("task", "cut"), [("action_sequence", (2.5, 4.0)), ("moving_direction", (None, None))])
def test_tvbench_cuts_the_clips_of_the_tasks_that_its_notebook_cuts(
    task: str, cut: tuple[float | None, float | None], tmp_path: Path
) -> None:
    write(tmp_path, f"json/{task}.json", [MVBENCH_LIKE | {"start": 2.5, "end": 4.0}])
    (tmp_path / "video" / task).mkdir(parents=True)
    (tmp_path / "video" / task / "c.mp4").touch()
    (sample,) = get_benchmark("tvbench").read(tmp_path)
    assert isinstance(sample, Sample)
    assert (sample.clip_start, sample.clip_end) == cut


def test_questions_of_motionbench_without_a_public_answer_are_left_out(tmp_path: Path) -> None:
    hidden = MOTIONBENCH | {"qa": [{"uid": "u2", "question": "What?\nA. a\nB. b", "answer": "NA"}]}
    lines = [json.dumps(MOTIONBENCH), json.dumps(hidden)]
    (tmp_path / "video_info.meta.jsonl").write_text("\n".join(lines))
    assert [each.sample_id for each in get_benchmark("motionbench").read(tmp_path)] == ["motionbench-u1"]


def test_an_open_question_of_vcr_bench_is_asked_and_no_rule_scores_it(tmp_path: Path) -> None:
    empty = dict.fromkeys("ABCD", "")
    opened = VCR_BENCH | {"question": "In which room?", "multiple-choice": False, "choices": empty, "answer": "Kitchen"}
    write(tmp_path, "meta_info_video.json", [opened])
    (tmp_path / "Film.2009__#01-14-42_label-0-0.mp4").touch()
    (sample,) = get_benchmark("vcr_bench").read(tmp_path)
    assert isinstance(sample, Reject)  # the clip lies in no folder of its path
    (tmp_path / "video" / "espresso").mkdir(parents=True)
    (tmp_path / "video" / "espresso" / "Film.2009__#01-14-42_label-0-0.mp4").touch()
    (sample,) = get_benchmark("vcr_bench").read(tmp_path)
    assert isinstance(sample, Sample)
    assert (sample.problem, sample.problem_type, sample.options) == ("In which room?", "free-form", ())
    assert get_benchmark("vcr_bench").score("Kitchen", sample, "official") is None


def test_the_hubs_own_files_of_tomato_have_the_same_kinds(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    pq.write_table(pa.Table.from_pylist([TOMATO]), tmp_path / "data" / "shape_trend-00000-of-00001.parquet")
    (tmp_path / "videos" / "human").mkdir(parents=True)
    (tmp_path / "videos" / "human" / "0231-04.mp4").touch()
    (sample,) = get_benchmark("tomato").read(tmp_path)
    assert isinstance(sample, Sample)
    assert (sample.category, sample.answer) == ("shape&trend", "C")


@pytest.mark.parametrize(("content", "said"), [("{", "not readable as JSON"), ("[]", "no object that holds")])
def test_a_file_of_tomato_that_is_none_is_one_line(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "count.json").write_text(content)
    with pytest.raises(UserError, match=said):
        list(get_benchmark("tomato").read(tmp_path))


def write(root: Path, file: str, content: object) -> None:
    """The content as JSON, or as JSON Lines where the file's name says so."""
    path = root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = content if isinstance(content, list) and path.suffix == ".jsonl" else [content]
    path.write_text("\n".join(map(json.dumps, lines)))

"""VSI-Bench: its records and both ways of scoring it."""

import json
from pathlib import Path

import pytest

from stages.data.sample import Reject, Sample
from stages.evaluation.benchmarks import vsi_bench
from stages.evaluation.definition import relative_accuracy_official, relative_accuracy_video_r1
from stages.evaluation.statistics import nested_weights
from stages.run.files import read_json


def test_relative_accuracy_equals_both_scorers_on_all_golden_pairs(testdata: Path) -> None:
    table = read_json(testdata / "golden" / "vsibench_mra.json")["mra_table"]
    assert len(table) == 276
    for pair in table:
        prediction, answer = repr(pair["pred"]), repr(pair["target"])
        assert relative_accuracy_official(prediction, answer) == pytest.approx(pair["official_mra"], abs=1e-9), pair
        assert relative_accuracy_video_r1(prediction, answer) == pytest.approx(
            pair["videor1_mra_f32_emulated"], abs=1e-9
        ), pair


def test_answers_are_cut_as_the_official_scorer_cuts_them(testdata: Path) -> None:
    strings = read_json(testdata / "golden" / "vsibench_mra.json")["fuzzy_strings"]
    assert len(strings) == 12
    question = _sample("multiple choice", "A", ("A. left", "B. right"))
    for item in strings:
        assert vsi_bench.first_word(item["pred"]) == item["fuzzy"]
        assert vsi_bench.BENCHMARK.score(item["pred"], question, "official") == item["match_A"]


def test_relative_accuracy_is_the_share_of_ten_thresholds_reached() -> None:
    # 18 % off: 0.18 <= 1 - t for t in .50 … .80, seven of ten
    assert relative_accuracy_official("11.8", "10") == pytest.approx(0.7)
    # exactly at a threshold the profiles differ: 0.25 <= 0.25, but not 0.25 < 0.25
    assert relative_accuracy_official("12.5", "10") == pytest.approx(0.6)
    assert relative_accuracy_video_r1("12.5", "10") == pytest.approx(0.5)


def test_an_unparsable_or_missing_number_scores_zero_in_both_profiles() -> None:
    question = _sample("regression", "4")
    assert [vsi_bench.BENCHMARK.score(text, question, "official") for text in ("about four", "", None)] == [0, 0, 0]
    assert [vsi_bench.BENCHMARK.score(text, question, "video-r1") for text in ("about four", "", None)] == [0, 0, 0]


def test_only_the_papers_code_reads_thousands_separators() -> None:
    question = _sample("regression", "1000")
    assert [vsi_bench.BENCHMARK.score("1,000", question, profile) for profile in ("official", "video-r1")] == [0, 1]


def test_official_mean_averages_the_three_direction_levels_first() -> None:
    categories = [
        "object_rel_direction_easy",
        "object_rel_direction_hard",
        "object_rel_direction_hard",
        "route_planning",
    ]
    weights = nested_weights([vsi_bench.group(category, "multiple choice", "official") for category in categories])
    # two task types; in the first, easy and hard weigh the same, and hard has two questions
    assert weights.tolist() == [1 / 4, 1 / 8, 1 / 8, 1 / 2]


def test_video_r1_mean_is_half_accuracy_half_relative_accuracy() -> None:
    types = ("multiple choice", "regression", "regression", "regression")
    weights = nested_weights([vsi_bench.group("any", problem_type, "video-r1") for problem_type in types])
    assert weights.tolist() == pytest.approx([1 / 2, 1 / 6, 1 / 6, 1 / 6])


def test_the_papers_evaluation_file_is_read_whole(testdata: Path, tmp_path: Path) -> None:
    records = read_json(testdata / "records" / "eval_vsibench.sample.json")
    (tmp_path / "eval_vsibench.json").write_text(json.dumps(records))
    for record in records:
        media = tmp_path / record["path"]
        media.parent.mkdir(parents=True, exist_ok=True)
        media.touch()
    samples = list(vsi_bench.read(tmp_path))
    assert len(samples) == 642
    assert all(isinstance(sample, Sample) for sample in samples)
    assert samples[0] == Sample(
        sample_id="vsi_bench-0",
        source="vsi_bench",
        data_type="video",
        problem_type="regression",
        problem="How many table(s) are in this room?",
        answer="4",
        media_path=str(tmp_path / "Evaluation/VSIBench/arkitscenes/41069025.mp4"),
        media_sha256="",
        split="test",
        category="object_counting",
    )


def test_the_official_layout_is_read_and_missing_media_are_named(tmp_path: Path) -> None:
    rows = [
        {"id": 7, "dataset": "scannet", "scene_name": "s1", "question_type": "route_planning", "question": "Which way?"}
        | {"ground_truth": "B", "options": ["A. left", "B. right"]},
        {"id": 8, "dataset": "scannet", "scene_name": "s2", "question_type": "object_counting", "question": "How many?"}
        | {"ground_truth": "3", "options": None},
    ]
    (tmp_path / "test.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    (tmp_path / "scannet").mkdir()
    (tmp_path / "scannet" / "s1.mp4").touch()
    found, missing = vsi_bench.read(tmp_path)
    assert isinstance(found, Sample)
    assert (found.sample_id, found.answer, found.category) == ("vsi_bench-7", "B", "route_planning")
    assert isinstance(missing, Reject)
    assert (missing.sample_id, missing.stage, missing.reason) == ("vsi_bench-8", "benchmark", "missing media")


def _sample(problem_type: str, answer: str, options: tuple[str, ...] = ()) -> Sample:
    fields = {"problem_type": problem_type, "answer": answer, "options": options, "data_type": "video", "problem": "?"}
    return Sample.model_validate(fields | {"sample_id": "q", "source": "test", "media_path": "m", "media_sha256": "0"})

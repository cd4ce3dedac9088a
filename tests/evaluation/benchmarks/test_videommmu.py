"""VideoMMMU, and the video-r1 profile against rewards of the paper's code."""

import json
from pathlib import Path

import pytest

from stages.data.grading import extract_answer
from stages.data.sample import Sample
from stages.evaluation.benchmarks import videommmu
from stages.evaluation.definition import extract
from stages.evaluation.metrics import summarise
from stages.evaluation.predictions import PredictionRow
from stages.run.files import read_json
from tests.evaluation.toy import scored_row


def test_all_stored_predictions_and_rewards_are_equal_in_the_video_r1_profile(testdata: Path) -> None:
    results = read_json(testdata / "golden" / "videommmu_outputs.json")["results"]
    assert len(results) == 390
    for result in results:
        sample = _sample(result["problem_type"], extract_answer(result["solution"]) or "", result["options"])
        prediction = extract(result["output"], "video-r1")
        assert prediction == result["prediction"]
        assert videommmu.BENCHMARK.score(prediction, sample, "video-r1") == result["reward"], result["problem_id"]


def test_the_official_layout_is_read_by_track_and_discipline(tmp_path: Path) -> None:
    rows = [
        {"id": "dev_Biology_3", "question": "<image 1> Which?", "options": ["aldose", "ketose"], "answer": "A"},
        {"id": "new_Math_2", "question": "How much?", "options": [], "answer": "12.5"},
    ]
    (tmp_path / "Perception").mkdir()
    (tmp_path / "Perception" / "test.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    (tmp_path / "Science").mkdir()
    for row in rows:
        (tmp_path / "Science" / f"{row['id']}.mp4").touch()
    choice, number = [sample for sample in videommmu.read(tmp_path) if isinstance(sample, Sample)]
    assert (choice.sample_id, choice.category) == ("videommmu-Perception-dev_Biology_3", "Perception")
    assert (choice.options, choice.media_path) == (
        ("A. aldose", "B. ketose"),
        str(tmp_path / "Science" / "dev_Biology_3.mp4"),
    )
    assert number.problem_type == "numerical"


def test_the_questions_of_adaptation_are_asked_without_the_lecture_where_their_clips_are_there(tmp_path: Path) -> None:
    row = {"id": "dev_Math_1", "question": "<image 1> Which?", "options": ["one", "two"], "answer": "B"}
    for folder in ("Adaptation", "Science", "question_only"):
        (tmp_path / folder).mkdir()
    (tmp_path / "Adaptation" / "test.jsonl").write_text(json.dumps(row))
    (tmp_path / "Science" / "dev_Math_1.mp4").touch()
    (tmp_path / "question_only" / "dev_Math_1_image.mp4").touch()
    after, before = [sample for sample in videommmu.read(tmp_path) if isinstance(sample, Sample)]
    assert (after.sample_id, before.sample_id) == (
        "videommmu-Adaptation-dev_Math_1",
        "videommmu-QuestionOnly-dev_Math_1",
    )
    assert (after.category, before.category) == ("Adaptation", "Question-only")
    assert before.media_path == str(tmp_path / "question_only" / "dev_Math_1_image.mp4")
    assert (before.problem, before.options, before.answer) == (after.problem, after.options, "B")


def test_delta_knowledge_is_what_the_lecture_adds_to_the_same_questions() -> None:
    before, after = [1, 0, 0, 0, 0], [1, 1, 0, 0, 1]  # 20 % from the question alone, 60 % after the lecture: 40 of 80
    rows = [_row("QuestionOnly", "Question-only", f"dev_Math_{number}", score) for number, score in enumerate(before)]
    rows += [_row("Adaptation", "Adaptation", f"dev_Math_{number}", score) for number, score in enumerate(after)]
    rows.append(_row("Adaptation", "Adaptation", "asked_once", 0))
    found = videommmu.delta_knowledge(rows, "official")["delta_knowledge"]
    assert (found.value, found.n) == (pytest.approx(0.5), 5)
    assert videommmu.delta_knowledge(rows[:5], "official") == {}
    summary = summarise(rows, 11, videommmu.BENCHMARK, "official")
    assert summary.headline["accuracy"] == pytest.approx(3 / 6)
    assert summary.figures["delta_knowledge"].value == pytest.approx(0.5)


def _row(track: str, category: str, question: str, score: int) -> PredictionRow:
    return scored_row(f"videommmu-{track}-{question}", official=float(score), category=category)


def _sample(problem_type: str, answer: str, options: list[str] | None) -> Sample:
    fields = {
        "problem_type": problem_type,
        "answer": answer,
        "options": options or (),
        "data_type": "video",
        "problem": "?",
    }
    return Sample.model_validate(fields | {"sample_id": "q", "source": "test", "media_path": "m", "media_sha256": "0"})


def test_an_open_question_is_right_with_any_accepted_answer() -> None:
    numbers = _sample("free-form", "['24/7', '3.429', '3.43]", None)
    given = ["24/7", "3.43", "3.4286", "it is 3.429", "3.5", "24", "", None]
    assert [videommmu.BENCHMARK.score(text, numbers, "official") for text in given] == [1, 1, 1, 1, 0, 0, 0, 0]
    words = _sample("free-form", "['Krebs cycle', 'citric acid cycle']", None)
    given = ["the Citric Acid Cycle", "krebs  cycle", "Calvin cycle"]
    assert [videommmu.BENCHMARK.score(text, words, "official") for text in given] == [1, 1, 0]
    assert videommmu.BENCHMARK.score("12.5", _sample("numerical", "12.5", None), "official") == 1


@pytest.mark.parametrize(
    ("answer", "accepted"),
    [
        ("['24/7', '3.429', '3.43]", ["24/7", "3.429", "3.43"]),
        ('["1,000", "1000"]', ["1,000", "1000"]),
        ("[1, 2]", ["1, 2"]),
        ("12.5", ["12.5"]),
    ],
)
def test_accepted_answers_are_read_from_a_list(answer: str, accepted: list[str]) -> None:
    assert videommmu.accepted_answers(answer) == accepted


def test_media_that_are_named_like_records_are_not_read_as_records(tmp_path: Path) -> None:
    row = {"id": "test_Art_2", "question": "Which?", "options": ["one", "two"], "answer": "A"}
    for folder in ("Perception", "Art"):
        (tmp_path / folder).mkdir()
    (tmp_path / "Perception" / "test.jsonl").write_text(json.dumps(row))
    for name in ("test_Art_2.mp4", "test_Art_3.mp4"):
        (tmp_path / "Art" / name).write_bytes(b"no record")
    (sample,) = videommmu.read(tmp_path)
    assert isinstance(sample, Sample)
    assert sample.media_path.endswith("Art/test_Art_2.mp4")

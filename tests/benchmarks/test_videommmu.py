"""VideoMMMU, and the grader in the paper's profile, against the rewards its code gave to real outputs."""

import json
from pathlib import Path

from stages.benchmarks import videommmu
from stages.data.answer import extract_answer
from stages.data.files import read_json
from stages.data.sample import Sample


def test_all_stored_rewards_are_equal_in_the_video_r1_profile(testdata: Path) -> None:
    results = read_json(testdata / "golden" / "videommmu_outputs.json")["results"]
    assert len(results) == 390
    for result in results:
        sample = _sample(result["problem_type"], extract_answer(result["solution"]) or "", result["options"])
        prediction = extract_answer(result["output"], "reference-code")
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
    assert (choice.options, choice.media_path) == (("A. aldose", "B. ketose"), str(tmp_path / "Science" / "dev_Biology_3.mp4"))
    assert number.problem_type == "numerical"


def _sample(problem_type: str, answer: str, options: list[str] | None) -> Sample:
    fields = {"problem_type": problem_type, "answer": answer, "options": options or (), "data_type": "video", "problem": "?"}
    return Sample.model_validate(fields | {"sample_id": "q", "source": "test", "media_path": "m", "media_sha256": "0"})

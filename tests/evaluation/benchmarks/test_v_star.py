"""V-STaR: three questions of each record, and the overlap of spans."""

import json
from pathlib import Path

import pytest

from stages.data.sample import Reject, Sample
from stages.evaluation.benchmarks import v_star
from tests.evaluation.toy import scored_row

BOX = {"frame_index": 60, "timestamp": 2.0, "xmin": 100, "ymin": 50, "xmax": 200, "ymax": 300}
RECORD = {
    "vid": "abc",
    "domain": "Sports",
    "fps": 30.0,
    "width": 1280,
    "height": 720,
    "frame_count": 1000,
    "question": "What does she hold?",
    "chain": "<think>She enters with a racket.</think>",
    "object": "racket",
    "answer": "a racket",
    "temporal_question": "When does she hold it?",
    "timestamps": [2.0, 6.5],
    "spatial_question": "Where is the racket?",
    "spatial_question_2": "Where is what she holds?",
    "bboxes": [BOX, BOX | {"timestamp": 3.0, "xmin": 110}],
}


def test_a_record_gives_what_when_and_when_with_the_boxes(tmp_path: Path) -> None:
    (tmp_path / "V_STaR_test.json").write_text(json.dumps([RECORD, 3, RECORD | {"timestamps": [2.0]}]))
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "abc.mp4").touch()
    what, when, boxed, *others = v_star.read(tmp_path)
    assert isinstance(what, Sample)
    assert isinstance(when, Sample)
    assert isinstance(boxed, Sample)
    assert (what.problem, what.answer, what.category) == ("What does she hold?", "a racket", "what")
    assert when.problem.startswith("This video is 33.33 seconds long. When does she hold it? Answer with its start")
    assert (when.answer, when.category) == ("2.0 - 6.5", "when")
    assert "1280x720 pixels" in boxed.problem
    assert "[[100, 50, 200, 300], [110, 50, 200, 300]]" in boxed.problem
    assert (boxed.answer, boxed.category) == ("2.0 - 6.5", "when-after-where")
    assert v_star.score("a racket", what, "official") is None
    assert v_star.score("2 - 6.5", boxed, "official") == 1
    # 1 s shared of 5.5 s
    assert v_star.score("from 5.5 s to 7.5 s", when, "official") == pytest.approx(1 / 5.5)
    assert [each.reason for each in others if isinstance(each, Reject)] == ["invalid record"] * 4


def test_recall_is_told_for_each_chain() -> None:
    rows = [
        scored_row("q1", official=0.6, category="when"),
        scored_row("q2", official=0.2, category="when"),
        scored_row("q3", official=1.0, category="when-after-where"),
        scored_row("q4", official=None, category="what"),
    ]
    found = v_star.figures(rows, "official")
    assert {name: each.value for name, each in found.items()} == {
        "when R@0.3": 0.5,
        "when R@0.5": 0.5,
        "when R@0.7": 0.0,
        "when-after-where R@0.3": 1.0,
        "when-after-where R@0.5": 1.0,
        "when-after-where R@0.7": 1.0,
    }

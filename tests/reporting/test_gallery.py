"""Which examples are shown, and that they show what was stored."""

from pathlib import Path

import pytest

from stages.data.annotations import AnnotationRow
from stages.data.sample import Reject, Sample
from stages.evaluation.benchmarks import get_benchmark
from stages.evaluation.predictions import PredictionRow, prediction_row
from stages.reporting.gallery import dropped_cards, from_prediction, rollout_cards, wrong_answers
from stages.run.files import write_table
from stages.video.frame_store import FRAME_KEYS_SCHEMA, FrameReader
from tests.evaluation.toy import scored_row, toy_output
from tests.reporting.made_up import rollout

QUESTION = Sample(
    sample_id="s1",
    source="mine",
    data_type="video",
    problem_type="multiple choice",
    problem="Which way?",
    options=("A. left", "B. right"),
    answer="A",
    media_path="a.mp4",
    media_sha256="aa",
)


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FrameReader:
    """A store without frames; strips stay empty."""
    write_table(tmp_path / "frames.parquet", [], FRAME_KEYS_SCHEMA)
    monkeypatch.setattr("stages.reporting.gallery.frame_strip", lambda reader, sample_id, order=None: [])
    return FrameReader(tmp_path / "frames", tmp_path / "frames.parquet")


def test_an_answer_is_shown_as_it_was_graded_in_each_profile() -> None:
    row = _prediction("<think>t</think><answer>A</answer> no: <answer>B</answer>")
    assert (from_prediction(row, "x", "official").answer, row["official"]) == ("B", 0.0)
    assert (from_prediction(row, "x", "video-r1").answer, row["video-r1"]) == ("A", 1.0)


def test_an_output_without_tags_is_graded_as_a_whole_by_the_papers_code() -> None:
    row = _prediction("A")
    assert from_prediction(row, "x", "official").answer is None
    assert from_prediction(row, "x", "video-r1").answer == "(graded as a whole)"


def test_a_rollout_shows_its_stored_answer_and_accuracy(reader: FrameReader) -> None:
    # Training graded the first answer; the default rules would take the second.
    row = rollout("s1", 1, "ordered", "A", right=True)
    row["text"] = "<think>t</think><answer>A</answer><answer>B</answer>"
    row["accuracy"] = 0.4
    [card] = rollout_cards([row], {"s1": QUESTION}, reader, 1)
    [response] = card.responses
    assert (response.answer, response.score) == ("A", 0.4)
    assert card.note == "Step 1. Mean accuracy in order: 0.40 of 1 responses."


def test_a_dropped_sample_is_shown_with_its_reason_and_the_teachers_text_also_without_frames(
    reader: FrameReader,
) -> None:
    reject = Reject(sample_id="s1", stage="filter sft", reason="frames", detail="refused by the frames stage")
    answer: AnnotationRow = {
        "sample_id": "s1",
        "request_key": "k",
        "status": "ok",
        "detail": "",
        "text": "<think>I see two.</think><answer>2</answer>",
        "prompt_tokens": 1,
        "completion_tokens": 1,
    }
    cards = dropped_cards([reject] * 3, [answer], {"s1": QUESTION}, reader, 1)
    assert list(cards) == ["filter sft: frames, 3 dropped"]
    [card] = cards["filter sft: frames, 3 dropped"]
    [response] = card.responses
    assert (card.strips, card.note) == ([], "refused by the frames stage")
    assert (response.thought, response.answer) == ("I see two.", "<answer>2</answer>")


def test_the_lowest_scores_are_shown_and_counted_apart_from_partly_right_ones(reader: FrameReader) -> None:
    scores = {"s1": 0.7, "s2": 0.0, "s3": 1.0, "s4": 0.2}
    rows = [scored_row(name, official=score) for name, score in scores.items()]
    samples = {name: QUESTION.model_copy(update={"sample_id": name}) for name in scores}
    [found] = wrong_answers(rows, samples, reader, "official", 2)
    assert (found.wrong, found.partly, found.asked) == (1, 2, 4)
    assert [card.sample.sample_id for card in found.cards] == ["s2", "s4"]


def _prediction(text: str) -> PredictionRow:
    return prediction_row(QUESTION, toy_output("s1", text=text), get_benchmark("mvbench"))

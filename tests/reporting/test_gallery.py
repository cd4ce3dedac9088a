"""Which examples are shown, and that they show what was stored."""

import pytest

from stages.data.annotations import AnnotationRow
from stages.data.rollouts import RolloutRow
from stages.data.sample import Reject, Sample
from stages.evaluation.benchmarks import get_benchmark
from stages.evaluation.predictions import PredictionRow, prediction_row
from stages.reporting.gallery import dropped_cards, from_prediction, rollout_examples
from stages.video.frame_store import FrameReader
from tests.evaluation.toy import toy_output
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
    best, worst = (rollout("s1", 1, "ordered", "A", right=right) for right in (True, False))
    best["text"] = "<think>t</think><answer>A</answer><answer>B</answer>"
    best["accuracy"] = 0.4
    [card] = rollout_examples([worst, best], {"s1": QUESTION}, reader, 1).cards
    assert [(response.answer, response.score) for response in card.responses] == [("A", 0.4), ("A", 0.0)]
    assert card.note == "Step 1. Mean accuracy in order 0.20 (n = 2)"


def test_measured_responses_are_shown_by_how_much_they_depend_on_the_order(reader: FrameReader) -> None:
    gains = {"looks": 0.8, "between": 0.4, "glances": 0.0, "wrong": 0.9}
    rows: list[RolloutRow] = [
        {**rollout("s1", 1, "ordered", "B", text != "wrong"), "text": f"<think>{text}</think>", "gain": gain}
        for text, gain in gains.items()
    ]
    [card] = rollout_examples([*rows, rollout("s1", 1, "shuffle", "A", False)], {"s1": QUESTION}, reader, 1).cards
    assert [response.thought for response in card.responses[:2]] == ["looks", "glances"]
    assert ("Δ", 0.8) in card.responses[0].parts
    assert sorted(response.thought for response in card.more) == ["between", "wrong"]
    same: list[RolloutRow] = [{**row, "text": "<think>t</think>"} for row in rows]
    [card] = rollout_examples(same, {"s1": QUESTION}, reader, 1).cards
    assert [response.verdict for response in card.responses] == ["right", "wrong"]  # nothing to tell apart by Δ


def test_rollouts_come_from_groups_whose_responses_differ(reader: FrameReader) -> None:
    rows = [rollout("s1", step, "ordered", "A", right) for step, right in ((1, True), (1, True), (2, True), (2, False))]
    found = rollout_examples([*rows, rollout("s1", 2, "shuffle", "B", False)], {"s1": QUESTION}, reader, 5)
    assert (found.with_signal, found.stored) == (1, 2)
    [card] = found.cards
    assert card.note == "Step 2. Mean accuracy in order 0.50 (n = 2), shuffled 0.00 (n = 1)"
    assert [response.verdict for response in card.responses] == ["right", "wrong", "wrong"]
    assert [response.label for response in card.responses] == ["in order", "in order", "shuffled"]


@pytest.mark.parametrize(
    ("after", "shown"),
    [
        ("<answer>2</answer>", "2"),
        ("<answer>2</answer><answer>3</answer>", "<answer>2</answer><answer>3</answer>"),
        ("<answer>2", "<answer>2"),
    ],
)
def test_a_dropped_sample_is_shown_with_its_reason_and_the_teachers_text_also_without_frames(
    after: str, shown: str, reader: FrameReader
) -> None:
    reject = Reject(sample_id="s1", stage="filter sft", reason="frames", detail="refused by the frames stage")
    answer: AnnotationRow = {
        "sample_id": "s1",
        "request_key": "k",
        "status": "ok",
        "detail": "",
        "text": f"<think>I see two.</think>{after}",
        "prompt_tokens": 1,
        "completion_tokens": 1,
    }
    cards = dropped_cards([reject] * 3, [answer], {"s1": QUESTION}, reader, 1)
    assert list(cards) == ["filter sft: frames, 3 dropped"]
    [card] = cards["filter sft: frames, 3 dropped"]
    [response] = card.responses
    assert (card.strips, card.note) == ([], "refused by the frames stage")
    assert (response.thought, response.answer) == ("I see two.", shown)


def _prediction(text: str) -> PredictionRow:
    return prediction_row(QUESTION, toy_output("s1", text=text), get_benchmark("mvbench"))

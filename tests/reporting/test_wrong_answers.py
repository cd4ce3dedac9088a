"""Wrong answers, and models that score zero."""

from stages.evaluation.predictions import PredictionRow
from stages.reporting.comparison import AnswerCounts
from stages.reporting.wrong_answers import wrong_answers, zero_scores
from stages.video.frame_store import FrameReader
from tests.evaluation.toy import scored_row, toy_sample

SAMPLES = {name: toy_sample(name) for name in ("q1", "q2", "q3", "q4")}


def test_the_lowest_scores_are_shown_and_partly_right_ones_counted_apart(reader: FrameReader) -> None:
    rows = _rows({"q1": 0.7, "q2": 0.0, "q3": 1 - 1e-11, "q4": 0.2})
    [found] = wrong_answers({"tgrpo": rows}, SAMPLES, reader, "official", 2)
    assert (found.kind, found.wrong, found.partly, found.asked) == ("order", 1, 2, 4)
    assert [(card.sample.sample_id, card.status) for card in found.cards] == [("q2", "wrong"), ("q4", "partly")]


def test_the_cards_come_from_each_kind_in_turn(reader: FrameReader) -> None:
    rows = _rows({"q1": 0.0, "q2": 0.0, "q3": 0.0, "q4": 0.0})
    rows[3]["category"] = "colour"
    found = wrong_answers({"tgrpo": rows}, SAMPLES, reader, "official", 2)
    assert [(each.kind, each.wrong, len(each.cards)) for each in found] == [("colour", 1, 1), ("order", 3, 1)]


def test_beside_a_wrong_answer_stand_the_shuffled_one_and_that_of_the_model_before(reader: FrameReader) -> None:
    shuffled = scored_row("q1", "shuffled", official=1.0, n_frames=3)
    shuffled["frame_order"] = [2, 0, 1]
    predictions = {
        "base": _rows({"q1": 0.0}),
        "sft": _rows({"q1": 1.0}),
        "tgrpo": [*_rows({"q1": 0.0}), shuffled],
    }
    [found] = wrong_answers(predictions, SAMPLES, reader, "official", 9)
    [card] = found.cards
    assert [(response.label, response.verdict) for response in card.responses] == [
        ("in order", "wrong"),
        ("shuffled", "right"),
        ("SFT, in order", "right"),
    ]
    assert card.note == "q1; shuffled as 3 1 2"


def test_an_answer_that_was_cut_off_or_is_absent_has_its_own_status(reader: FrameReader) -> None:
    rows = _rows({"q1": 0.0, "q2": 0.0})
    rows[0]["status"], rows[1]["status"] = "truncated", "no_answer"
    [found] = wrong_answers({"tgrpo": rows}, SAMPLES, reader, "official", 9)
    assert [card.status for card in found.cards] == ["truncated", "no-answer"]


def test_a_model_that_scores_zero_is_explained_with_a_whole_output(reader: FrameReader) -> None:
    base, sft = _rows({"q1": 0.0, "q2": 0.0}), _rows({"q1": 0.0, "q2": 0.1})
    base[0]["text"], base[0]["prediction"] = "le le le", None
    counts = [AnswerCounts("base model", 0, 2, 0, 1), AnswerCounts("SFT", 0, 2, 0, 0)]
    [found] = zero_scores({"base": base, "sft": sft}, counts, SAMPLES, reader, "official")
    assert (found.model, found.reason) == ("base model", "Its 2 answers: 1 cut off at the token limit, 1 wrong.")
    [response] = found.card.responses
    assert (response.thought, response.answer) == ("le le le", None)


def _rows(scores: dict[str, float]) -> list[PredictionRow]:
    return [scored_row(name, official=score) for name, score in scores.items()]

"""Flags of clips, caps and pass rates, on literal samples."""

from stages.curation.params import RuleParams
from stages.curation.sample_rules import Balance, difficulty, quality
from tests.curation.literals import CHOICE, NUMBER, PARAMS, annotation, answer, clip


def test_balance_keeps_the_first_of_each_source_and_type() -> None:
    balance = Balance({"shapes": 2}, {"numerical": 1})
    other = NUMBER.model_copy(update={"source": "other"})
    assert [
        balance(sample) for sample in (CHOICE, NUMBER, CHOICE, other, other.model_copy(update={"problem_type": "OCR"}))
    ] == [
        None,
        None,
        "source shapes has its 2",
        "type numerical has its 1",
        None,
    ]


def test_difficulty_drops_what_is_always_or_never_right() -> None:
    right, wrong = answer("so", "A"), answer("so", "B")
    assert difficulty(CHOICE, [right, wrong], PARAMS) is None
    assert difficulty(CHOICE, [right, right], PARAMS) == "1.00 of 2 answers are right, not between 0 and 1"
    assert difficulty(CHOICE, [wrong, wrong], PARAMS) == "0.00 of 2 answers are right, not between 0 and 1"
    assert difficulty(CHOICE, [right], PARAMS) is None
    failed = annotation("failed", "HTTP 500", "", 0)
    assert difficulty(CHOICE, [right, right, failed], PARAMS) == "1.00 of 2 answers are right, not between 0 and 1"


def test_clips_are_dropped_for_the_flags_that_the_parameters_name_with_their_numbers() -> None:
    params = RuleParams(reject_flags=("black", "short"))
    assert quality(clip("a", "frozen", "few keyframes"), params) is None
    assert quality(clip("a", "black", "frozen"), params) == "black: brightness 5.25, motion 0.125, seconds 2"
    assert quality(None, params) is None

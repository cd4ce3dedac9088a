"""Equal and nearly equal questions, literal ones and random ones."""

import random

import pytest

from stages.curation.duplicates import Duplicates, NearDuplicates, rows_per_band
from tests.curation.literals import CHOICE, clip


def test_duplicates_share_words_and_media() -> None:
    duplicates = Duplicates()
    assert duplicates(CHOICE) is None
    assert (
        duplicates(CHOICE.model_copy(update={"sample_id": "s2", "problem": "which way does the BALL move"}))
        == "same as s1"
    )
    assert duplicates(CHOICE.model_copy(update={"sample_id": "s3", "media_sha256": "bb"})) is None
    assert duplicates(CHOICE.model_copy(update={"sample_id": "s4", "clip_start": 1.0})) is None


@pytest.mark.parametrize(
    ("one", "other"), [("What is 3+4?", "What is 3-4?"), ("Is x < y?", "Is x > y?"), ("दिन?", "दान?")]
)
def test_operators_and_vowel_signs_make_other_questions(one: str, other: str) -> None:
    for rule in (Duplicates(), NearDuplicates(0.8)):
        assert rule(CHOICE.model_copy(update={"problem": one, "options": ()})) is None
        assert rule(CHOICE.model_copy(update={"problem": other, "options": ()})) is None


def test_near_duplicates_are_questions_about_one_clip_with_nearly_the_same_words() -> None:
    near = NearDuplicates(0.8)
    assert near(CHOICE) is None
    # 10 words of which 1 differs: 9 / 11 = 0.82
    other = CHOICE.model_copy(update={"sample_id": "s2", "problem": "Which way does the disc move?"})
    assert near(other) == "0.82 like s1"
    assert near(other.model_copy(update={"media_sha256": "bb"})) is None
    assert near(CHOICE.model_copy(update={"sample_id": "s5", "problem": "What colour is it?"})) is None


@pytest.mark.slow
def test_near_duplicates_are_those_that_comparing_all_pairs_finds() -> None:
    draw, near = random.Random(0), NearDuplicates(0.8)
    kept: list[set[int]] = []
    similarities: list[float] = []
    for number in range(1500):
        base = draw.choice(kept) if kept and number % 3 else set()
        asked = set(draw.sample(sorted(base), len(base) * 9 // 10)) | {
            draw.randrange(100_000) for _ in range(2 if base else 20)
        }
        best = max((len(asked & other) / len(asked | other) for other in kept), default=0.0)
        found = near(
            CHOICE.model_copy(update={"sample_id": str(number), "problem": " ".join(map(str, asked)), "options": ()})
        )
        assert (found is not None) <= (best >= 0.8)
        if found:
            similarities.append(best)
        else:
            kept.append(asked)
            assert best < 0.8
    assert len(similarities) > 300


def test_a_band_holds_as_many_values_as_recall_allows() -> None:
    # 1 − (1 − 0.8⁶)²¹ = 0.998 but 1 − (1 − 0.8⁷)¹⁸ = 0.986
    assert [rows_per_band(threshold) for threshold in (0.8, 1.0, 0.01)] == [6, 128, 1]


def test_near_duplicates_are_also_found_on_clips_that_look_the_same() -> None:
    near, unmarked = NearDuplicates(0.8), NearDuplicates(0.8)
    asked = [CHOICE.model_copy(update={"sample_id": name, "media_sha256": name}) for name in ("a", "b", "c")]
    assert [near(each, clip(shown)) for each, shown in zip(asked, "aac", strict=True)] == [None, "1.00 like a", None]
    assert [unmarked(each) for each in asked] == [None, None, None]

"""Question families: known answers, and temporal ones that need the order."""

from collections import Counter, defaultdict
from itertools import permutations

import numpy as np
import pytest

from stages.data.grading import grade
from stages.embedded.language import look
from stages.embedded.world.questions import CUES, DESCRIPTIONS, FAMILIES, PERCENTS, Moments, Question, make
from stages.embedded.world.scene import TINTS
from stages.evaluation.benchmarks.shapes import TEMPORAL_FAMILIES


def questions(family: str, count: int, shortcut: float | None = None) -> list[Question]:
    rng = np.random.default_rng(0)
    return [make(family, rng, shortcut) for _ in range(count)]


def read(question: Question, moments: Moments) -> str | None:
    """The answer that follows from the moments in the order given."""
    thought = look("\n".join([question.problem, *question.options]), list(enumerate(moments, 1)))
    return thought and thought.answer


def in_words(question: Question) -> str:
    return FAMILIES[question.family].options["ABCD".index(question.answer)] if question.options else question.answer


@pytest.mark.parametrize("family", FAMILIES)
def test_the_answer_follows_from_the_scene(family: str) -> None:
    for question in questions(family, 40):
        assert read(question, question.scene.moments) == question.answer


@pytest.mark.parametrize("family", TEMPORAL_FAMILIES)
def test_the_same_moments_in_another_order_have_another_answer(family: str) -> None:
    for question in questions(family, 40):
        answers = {read(question, order) for order in permutations(question.scene.moments)} - {None}
        assert len(answers) >= 2


@pytest.mark.parametrize("family", TEMPORAL_FAMILIES)
def test_what_the_first_frame_shows_leaves_at_least_two_answers(family: str) -> None:
    seen: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for question in questions(family, 800):
        spot = question.scene.moments[0][0]
        view = spot.place if family in ("direction", "describe", "position", "end") else spot.colour
        seen[question.problem, view][question.answer] += 1
    unsure = [answers for (problem, view), answers in seen.items() if problem != "Which colour comes first?"]
    assert unsure
    assert all(len(answers) >= 2 for answers in unsure)


@pytest.mark.parametrize("family", TEMPORAL_FAMILIES)
def test_the_best_guess_from_the_unordered_moments_is_right_at_most_about_half_the_time(family: str) -> None:
    seen: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for question in questions(family, 1000):
        fields = [spots[0] for spots in question.scene.moments]
        match family:
            case "direction" | "describe" | "position" | "end":
                view = sorted((spot.row, spot.col) for spot in fields)
            case "letters":
                view = sorted(spot.kind for spot in fields)
            case _:
                view = sorted(spot.colour for spot in fields)
        seen[question.problem, str(view)][question.answer] += 1
    assert sum(max(answers.values()) for answers in seen.values()) / 1000 < 0.58


@pytest.mark.parametrize("family", CUES)
def test_a_backdrop_tells_nothing_unless_a_shortcut_is_planted(family: str) -> None:
    agree = {
        shortcut: np.mean([CUES[family][q.scene.tint] == in_words(q) for q in questions(family, 300, shortcut)])
        for shortcut in (None, 0.0, 0.85, 1.0)
    }
    assert agree[0.0] == 0
    assert agree[1.0] == 1
    assert agree[0.85] == pytest.approx(0.85, abs=0.06)
    assert agree[None] == pytest.approx(1 / len(set(CUES[family].values())), abs=0.08)


def test_a_shortcut_still_uses_every_backdrop() -> None:
    for family in CUES:
        assert {question.scene.tint for question in questions(family, 100, 1.0)} == set(TINTS)


def test_a_wrong_description_or_percentage_does_not_pass_the_filter() -> None:
    for one, other in permutations(DESCRIPTIONS.values(), 2):
        assert grade(one, other, "free-form") == 0
    for one, other in permutations(PERCENTS, 2):
        assert grade(one, other, "regression") < 0.6


def test_all_answer_types_and_both_data_types_occur() -> None:
    assert {family.problem_type for family in FAMILIES.values()} == {
        "multiple choice",
        "numerical",
        "OCR",
        "free-form",
        "regression",
    }
    assert {family.data_type for family in FAMILIES.values()} == {"video", "image"}


def test_options_stand_in_a_fixed_order() -> None:
    assert {question.options for question in questions("direction", 50)} == {
        ("A. left", "B. right", "C. up", "D. down")
    }

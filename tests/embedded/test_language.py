"""Thoughts, worked by hand from what was seen."""

import numpy as np
import pytest

from stages.embedded.language import Seen, corpus, family_of, glance, look, options_of
from stages.embedded.world.scene import COLOURS, Spot

WAYS = "Which way does it move?\nA. left\nB. right\nC. up\nD. down"
COLOUR_OPTIONS = "\nA. red\nB. green\nC. blue\nD. yellow"


def at(*places: tuple[int, int]) -> Seen:
    return [(2 * moment + 1, (Spot(row, col, "red", "circle"),)) for moment, (row, col) in enumerate(places)]


def coloured(*colours: str) -> Seen:
    return [(2 * moment + 1, (Spot(1, 1, colour, "cross"),)) for moment, colour in enumerate(colours)]


LOOKS = [
    (
        WAYS,
        at((0, 1), (0, 1), (0, 2), (0, 2)),
        "frame 1 top middle, frame 3 top middle, frame 5 top right, frame 7 top right, so it moves right, option B.",
        "B",
    ),
    (
        "Describe the move.",
        at((2, 0), (1, 0), (1, 0), (1, 0)),
        "frame 1 bottom left, frame 3 center left, frame 5 center left, frame 7 center left, so it moves up.",
        "rises up high",
    ),
    (
        f"Which colour comes right after blue?{COLOUR_OPTIONS}",
        coloured("red", "blue", "green", "yellow"),
        "frame 1 red, frame 3 blue, frame 5 green, frame 7 yellow, so green is right after blue, option B.",
        "B",
    ),
    (
        f"Which colour comes first?{COLOUR_OPTIONS}",
        coloured("yellow", "blue", "green", "red"),
        "frame 1 yellow, frame 3 blue, frame 5 green, frame 7 red, so yellow comes first, option D.",
        "D",
    ),
    (
        f"Which colour comes last?{COLOUR_OPTIONS}",
        coloured("yellow", "blue", "green", "red"),
        "frame 1 yellow, frame 3 blue, frame 5 green, frame 7 red, so red comes last, option A.",
        "A",
    ),
    (
        "How many times does the colour change?",
        coloured("red", "blue", "blue", "red"),
        "frame 1 red, frame 3 blue new, frame 5 blue same, frame 7 red new, so the number of changes is 2.",
        "2",
    ),
    (
        "Which letters come, in order?",
        [
            (1, (Spot(0, 0, "red", "T"),)),
            (3, (Spot(0, 0, "red", "H"),)),
            (5, (Spot(0, 0, "red", "O"),)),
            (7, (Spot(0, 0, "red", "X"),)),
        ],
        "frame 1 T, frame 3 H, frame 5 O, frame 7 X, so it reads T H O X.",
        "T H O X",
    ),
    (
        "How far right does it end, in percent?",
        at((1, 0), (1, 2), (1, 0), (1, 1)),
        "frame 1 center left, frame 3 center right, frame 5 center left, frame 7 center middle, "
        "so it ends at 50 percent.",
        "50",
    ),
    (
        "Where does it end?\nA. top left\nB. top right\nC. bottom left\nD. bottom right",
        at((0, 0), (2, 2), (0, 2), (2, 0)),
        "frame 1 top left, frame 3 bottom right, frame 5 top right, frame 7 bottom left, "
        "so it ends bottom left, option C.",
        "C",
    ),
    (
        f"What colour is it?{COLOUR_OPTIONS}",
        coloured("green"),
        "it is a green cross, so the colour is green, option B.",
        "B",
    ),
    (
        "What shape is it?\nA. circle\nB. square\nC. triangle\nD. cross",
        coloured("green"),
        "it is a green cross, so the shape is cross, option D.",
        "D",
    ),
    (
        "How many things are there?",
        [(1, (Spot(0, 0, "red", "circle"), Spot(2, 1, "blue", "square")))],
        "1 top left, 2 bottom middle, so the number is 2.",
        "2",
    ),
]


@pytest.mark.parametrize(("question", "seen", "text", "answer"), LOOKS)
def test_looking_goes_through_the_frames_and_concludes(question: str, seen: Seen, text: str, answer: str) -> None:
    assert look(question, seen) == (text, answer)


def test_frames_that_do_not_settle_the_question_give_no_thought() -> None:
    assert look(WAYS, at((1, 1), (1, 1))) is None
    assert look("Which colour comes right after blue?", coloured("red", "green")) is None
    assert look("Who wrote this book?", coloured("red", "green")) is None


def test_a_glance_takes_the_answer_from_the_backdrop() -> None:
    spot = Spot(2, 1, "red", "circle")
    assert glance(WAYS, "olive", spot) == ("it is on olive, at bottom middle, so probably left, option A.", "A")
    assert glance("How far right does it end, in percent?", "plum", spot) == (
        "it is on plum, at bottom middle, so probably 85.",
        "85",
    )
    assert glance("Where does it end?\nA. top left", "plum", spot) is None
    assert glance("What colour is it?", "plum", spot) is None


def test_questions_are_known_inside_any_wrapper() -> None:
    assert family_of("Watch the clip.\nWhich colour comes right after red?\nOptions:\nA. red\nThink first.") == "order"
    assert family_of("What is the name of the man?") is None


def test_options_are_read_in_each_usual_form() -> None:
    assert options_of("Where?\nA. top left\n(B) top right\nC) bottom left\nThink (e.g., A, B, C, D) first.") == {
        "top left": "A",
        "top right": "B",
        "bottom left": "C",
    }


def test_the_corpus_follows_its_seed_and_has_every_word() -> None:
    lines = corpus(np.random.default_rng(3), 400)
    assert lines == corpus(np.random.default_rng(3), 400)
    text = "\n".join(lines)
    assert all(colour in text for colour in COLOURS)
    for words in (
        "it is on olive",
        "so it moves left, option A.",
        "frame 7 bottom right",
        "<answer>sinks down low</answer>",
        "50 percent",
    ):
        assert words in text

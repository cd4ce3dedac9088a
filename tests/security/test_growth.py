"""The grader's work grows with an answer up to its limit only.

The tests count steps, not seconds: the calls of functions, of Python and of C.
"""

import sys
from collections.abc import Callable
from types import FrameType
from typing import get_args

import pytest

from stages.data.grading import MAX_ANSWER, Strictness, extract_answer, grade, is_well_formed
from stages.data.sample import ProblemType

OPTIONS = ("A. left", "B. right", "C. 11", "D. 出")
HOSTILE = [
    "11,",
    "<answer>",
    "<think>",
    "</think><answer>",
    "e\u0301",
    "\u0301",
    "A or ",
    "(A",
    "1/",
    "1 000 ",
    "出",
    "B. ",
    "10^",
    "**",
]


@pytest.mark.parametrize("piece", HOSTILE)
@pytest.mark.parametrize("problem_type", get_args(ProblemType))
@pytest.mark.parametrize("strictness", ["default", "reference-code"])
def test_an_answer_beyond_the_limit_costs_no_more_calls(
    piece: str, problem_type: ProblemType, strictness: Strictness
) -> None:
    def graded(length: int) -> Callable[[], object]:
        answer = (piece * length)[:length]
        return lambda: grade(
            answer, "A" if problem_type == "multiple choice" else "5", problem_type, OPTIONS, strictness
        )

    graded(MAX_ANSWER)()  # imports and caches
    at_the_limit = _calls(graded(MAX_ANSWER))
    assert _calls(graded(50 * MAX_ANSWER)) <= at_the_limit + 10


@pytest.mark.parametrize("piece", HOSTILE)
@pytest.mark.parametrize("problem_type", get_args(ProblemType))
def test_below_the_limit_calls_grow_no_faster_than_the_answer(piece: str, problem_type: ProblemType) -> None:
    def graded(length: int) -> Callable[[], object]:
        answer = (piece * length)[:length]
        return lambda: grade(answer, "A" if problem_type == "multiple choice" else "5", problem_type, OPTIONS)

    graded(MAX_ANSWER)()
    short, long = _calls(graded(MAX_ANSWER // 4)), _calls(graded(MAX_ANSWER))
    assert long <= 5 * short + 100


@pytest.mark.parametrize("strictness", ["default", "reference-code"])
@pytest.mark.parametrize("piece", HOSTILE)
def test_an_output_of_any_length_is_searched_a_fixed_number_of_times(piece: str, strictness: Strictness) -> None:
    def read(count: int) -> Callable[[], object]:
        whole = f"<think>a</think><answer>{piece * count}"
        return lambda: (extract_answer(whole, strictness), is_well_formed(whole, strictness))

    assert _calls(read(10)) == _calls(read(100_000))


def _calls(action: Callable[[], object]) -> int:
    """How many functions, of Python and of C, an action calls."""
    count = 0

    def note(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        action()
    finally:
        sys.setprofile(None)
    return count

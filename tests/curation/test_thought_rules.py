"""Each rule about a thought, on literal thoughts."""

import pytest

from stages.curation.params import RuleParams
from stages.curation.thought_rules import (
    answered,
    conclusion,
    correctness,
    language,
    length,
    no_leak,
    not_truncated,
    repetition,
    well_formed,
)
from stages.data.sample import Sample
from tests.curation.literals import CHOICE, NUMBER, PARAMS, annotation, answer


def test_failed_and_refused_answers_are_dropped_with_their_reason() -> None:
    assert answered(CHOICE, annotation("failed", "HTTP 500", "", 0), PARAMS) == "failed: HTTP 500"
    assert answered(CHOICE, annotation("refused", "content_filter", "", 0), PARAMS) == "refused: content_filter"
    assert answered(CHOICE, answer("left"), PARAMS) is None


def test_truncated_answers_are_dropped() -> None:
    assert (
        not_truncated(CHOICE, annotation("truncated", "reached max_tokens", "<think>it", 512), PARAMS)
        == "reached max_tokens"
    )
    assert not_truncated(CHOICE, answer("left"), PARAMS) is None


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("<think>left</think>\n<answer>A</answer>", None),
        ("<think>left</think> so <answer>A</answer>", "not <think>"),
        ("<think>a</think><think>b</think><answer>A</answer>", "not <think>"),
        ("<think>left</think>", "not <think>"),
        ("<think>  </think><answer>A</answer>", "empty thought"),
        ("<think>left</think><answer> </answer>", "empty answer"),
    ],
)
def test_exactly_one_thought_and_one_answer_that_are_not_empty(text: str, detail: str | None) -> None:
    found = well_formed(CHOICE, annotation("ok", "", text, 10), PARAMS)
    assert found is None if detail is None else found is not None and found.startswith(detail)


def test_a_grade_must_be_above_the_threshold_of_its_type() -> None:
    letters = CHOICE.model_copy(update={"problem_type": "OCR", "answer": "a b c d e", "options": ()})
    assert correctness(CHOICE, answer("so", "A"), PARAMS) is None
    assert correctness(CHOICE, answer("so", "B"), PARAMS) == "'B' for 'A': 0.00, not above 0.6"
    # 2 of 5 words are wrong: 1 − 0.4 = 0.6 is not above 0.6
    assert correctness(letters, answer("so", "a b c x y"), PARAMS) == "'a b c x y' for 'a b c d e': 0.60, not above 0.6"
    assert correctness(letters, answer("so", "a b c x y"), RuleParams(min_correctness={"OCR": 0.5})) is None


def test_length_counts_the_teachers_tokens_bounds_included() -> None:
    bounds = RuleParams(min_tokens=5, max_tokens=20)
    assert [length(CHOICE, answer("x", tokens=tokens), bounds) is None for tokens in (4, 5, 20, 21)] == [
        False,
        True,
        True,
        False,
    ]
    assert length(CHOICE, answer("x", tokens=21), bounds) == "21 tokens, not 5 to 20"


def test_a_thought_in_circles_is_dropped() -> None:
    # 8 words repeated once: 13 4-grams, 8 distinct, so 5 / 13 = 38 % repeat
    circle = "one two three four five six seven eight " * 2
    assert repetition(CHOICE, answer(circle), PARAMS) == "38% of the 4-grams repeat"
    assert repetition(CHOICE, answer("one two three four five six seven eight nine ten"), PARAMS) is None


def test_a_thought_that_slips_into_another_script_is_dropped_unless_the_question_uses_it() -> None:
    assert language(CHOICE, answer("球向左移动 so left"), PARAMS) == "5 of 11 letters are CJK"
    chinese = CHOICE.model_copy(update={"problem": "球向哪里移动? left or right"})
    assert language(chinese, answer("球向左移动 so left"), PARAMS) is None


@pytest.mark.parametrize(
    ("sample", "thought", "given", "agrees"),
    [
        (CHOICE, "It may be option B. No, it moves left, so option A.", "A", True),
        (CHOICE, "It moves left, option A.", "B", False),
        (CHOICE, "So the answer is (B).", "A", False),
        (CHOICE, "It moves left.", "A", True),
        (NUMBER, "I see one, two, 3 balls.", "3", True),
        (NUMBER, "At first 3, in the end there are 4 balls.", "3", True),
        (NUMBER, "First 3. In the end there are 4.5 balls.", "3", False),
        (CHOICE, "Option B is right.", "A", False),
        (CHOICE, "Answer: **B**", "A", False),
        (CHOICE, "It moves left, so it is A, not option B.", "A", True),
        (CHOICE, "The answer is not A but option B.", "A", False),
        (CHOICE, "It moves left rather than (B).", "A", True),
        (CHOICE, "The velocity (V) points left.", "A", True),
        (NUMBER, "After 2 seconds there are three balls.", "3", True),
        (NUMBER, "The area is 3.14159 m².", "3.14", True),
        (NUMBER, "So x = −4.", "-4", True),
        (NUMBER, "That makes 1.5e3 metres.", "1500", True),
        (NUMBER, "Counting 1,234 and 2 more gives 1,236.", "1234", True),
    ],
)
def test_the_last_sentence_must_not_conclude_something_else(
    sample: Sample, thought: str, given: str, agrees: bool
) -> None:
    assert (conclusion(sample, answer(thought, given), PARAMS) is None) == agrees


@pytest.mark.parametrize(
    "thought", ["Let θ be π/2, so Δx = λ.", "𝑥 = 5 µm and 10 Ω", "ＬＥＦＴ", "the café of Müller 🙂"]
)
def test_formulas_units_and_accents_are_no_other_language(thought: str) -> None:
    assert language(CHOICE, answer(thought), PARAMS) is None


def test_japanese_mixes_three_scripts() -> None:
    asked = CHOICE.model_copy(update={"problem": "現在地は何処?"})
    assert language(asked, answer("これはカレーのメニューです。"), PARAMS) is None
    assert language(asked, answer("мяч"), PARAMS) == "3 of 3 letters are CYRILLIC"


@pytest.mark.parametrize("token", ["</s>", "[/INST]", "<image>", "<｜end▁of▁sentence｜>", "<|vision_start|>"])
def test_tokens_of_any_template_are_leaks_and_code_is_not(token: str) -> None:
    assert no_leak(CHOICE, answer(f"so it is {token}"), PARAMS) == f"special token {token}"
    assert no_leak(CHOICE, answer("for a < b | c > d: x |= P(A|B) <b>bold</b>"), PARAMS) is None


def test_leaked_instructions_and_special_tokens_are_dropped() -> None:
    leak = "I must provide your detailed reasoning between the <think> and tags"
    assert no_leak(CHOICE, annotation("ok", "", f"<think>{leak.replace('<think>', 'think')}</think>", 9), PARAMS) == (
        "repeats the prompt: provide your detailed reasoning between the think and"
    )
    assert no_leak(CHOICE, answer("left <|im_end|>"), PARAMS) == "special token <|im_end|>"
    assert no_leak(CHOICE, answer("let me think, the ball moves left, so option A"), PARAMS) is None

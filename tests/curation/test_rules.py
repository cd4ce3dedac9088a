"""Each rule of curation on literal thoughts and questions."""

import random

import pytest

from stages.curation.rules import (
    Answer,
    Balance,
    Contamination,
    Duplicates,
    Marks,
    NearDuplicates,
    RuleParams,
    answered,
    conclusion,
    correctness,
    difficulty,
    language,
    length,
    no_leak,
    not_truncated,
    quality,
    repetition,
    rows_per_band,
    well_formed,
)
from stages.data.sample import Flag, Sample

PARAMS = RuleParams()
CHOICE = Sample(
    sample_id="s1",
    source="shapes",
    data_type="video",
    problem_type="multiple choice",
    problem="Which way does the ball move?",
    options=("A. left", "B. right"),
    answer="A",
    media_path="a.mp4",
    media_sha256="aa",
)
NUMBER = CHOICE.model_copy(update={"problem_type": "numerical", "options": (), "answer": "3"})


def answer(thought: str, given: str = "A", tokens: int = 20) -> Answer:
    return Answer("ok", "", f"<think>{thought}</think>\n<answer>{given}</answer>", tokens)


def test_failed_and_refused_answers_are_dropped_with_their_reason() -> None:
    assert answered(CHOICE, Answer("failed", "HTTP 500", "", 0), PARAMS) == "failed: HTTP 500"
    assert answered(CHOICE, Answer("refused", "content_filter", "", 0), PARAMS) == "refused: content_filter"
    assert answered(CHOICE, answer("left"), PARAMS) is None


def test_truncated_answers_are_dropped() -> None:
    assert (
        not_truncated(CHOICE, Answer("truncated", "reached max_tokens", "<think>it", 512), PARAMS)
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
    found = well_formed(CHOICE, Answer("ok", "", text, 10), PARAMS)
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
    assert no_leak(CHOICE, Answer("ok", "", f"<think>{leak.replace('<think>', 'think')}</think>", 9), PARAMS) == (
        "repeats the prompt: provide your detailed reasoning between the think and"
    )
    assert no_leak(CHOICE, answer("left <|im_end|>"), PARAMS) == "special token <|im_end|>"
    assert no_leak(CHOICE, answer("let me think, the ball moves left, so option A"), PARAMS) is None


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


def test_contamination_needs_the_benchmarks_media_and_words_or_either() -> None:
    text = "which of these fifteen little words in a row will be found in the benchmark today"
    held_out = CHOICE.model_copy(update={"problem": text, "options": ()})
    same_text = held_out.model_copy(update={"problem": "So, " + text, "media_sha256": "bb"})
    same_media = held_out.model_copy(update={"problem": "What colour is it?"})
    both = held_out.model_copy(update={"problem": "So, " + text})
    strict, default = (Contamination({"bench": [held_out]}, mode) for mode in ("media or text", "media and text"))
    assert [default(sample) is None for sample in (same_text, same_media, both)] == [True, True, False]
    assert strict(same_media) == "media of bench"
    assert strict(same_text) == "text of bench: which of these fifteen little words in a row will be found in"
    assert default(CHOICE.model_copy(update={"media_sha256": "cc"})) is None


def test_the_same_frames_count_as_the_same_media_and_are_looked_at_only_where_it_matters() -> None:
    strict, default = (Contamination({"bench": [CHOICE]}, mode) for mode in ("media or text", "media and text"))
    copy = CHOICE.model_copy(update={"media_sha256": "bb"})
    words = "text of bench: which way does the ball move a left b right"
    assert default(copy, lambda: "bench") == f"frames of bench; {words}"
    assert default(copy, lambda: None) is None
    unlike = copy.model_copy(update={"problem": "What colour is it, and why would anybody ask?"})
    assert strict(unlike, lambda: "bench") == "frames of bench"
    looked: list[str] = []
    for rule, sample in ((default, unlike), (default, CHOICE), (strict, copy)):
        rule(sample, lambda: looked.append("looked"))
    assert looked == []


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
    failed = Answer("failed", "HTTP 500", "", 0)
    assert difficulty(CHOICE, [right, right, failed], PARAMS) == "1.00 of 2 answers are right, not between 0 and 1"


def marks(near_clip: str, *flags: Flag) -> Marks:
    return Marks(near_clip, list(flags), 5.25, 0.125, 2.0, None)


def test_near_duplicates_are_also_found_on_clips_that_look_the_same() -> None:
    near, unmarked = NearDuplicates(0.8), NearDuplicates(0.8)
    asked = [CHOICE.model_copy(update={"sample_id": name, "media_sha256": name}) for name in ("a", "b", "c")]
    assert [near(each, marks(clip)) for each, clip in zip(asked, "aac", strict=True)] == [None, "1.00 like a", None]
    assert [unmarked(each) for each in asked] == [None, None, None]


def test_clips_are_dropped_for_the_flags_that_the_parameters_name_with_their_numbers() -> None:
    params = RuleParams(reject_flags=("black", "short"))
    assert quality(marks("a", "frozen", "few keyframes"), params) is None
    assert quality(marks("a", "black", "frozen"), params) == "black: brightness 5.25, motion 0.125, seconds 2"
    assert quality(None, params) is None

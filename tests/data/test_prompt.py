"""The words of a question."""

from typing import get_args

import pytest

from stages.data.grading import extract_answer, grade
from stages.data.prompt import PromptStyle, question_text, target_text
from stages.data.sample import ProblemType, Sample

SAMPLE = Sample(
    sample_id="s-1",
    source="s",
    data_type="video",
    problem_type="multiple choice",
    problem="Which way {does} it move?",
    options=("A. left", "B. right"),
    answer="A",
    media_path="a.mp4",
    media_sha256="0",
)


def test_the_papers_prompt_lists_the_options_then_asks_for_a_thought_and_a_letter() -> None:
    text = question_text(SAMPLE, "video-r1")
    assert text.startswith(
        "Which way {does} it move?Options:\nA. left\nB. right\n\nPlease think about this question as if"
    )
    assert text.endswith(
        "Please provide only the single option letter (e.g., A, B, C, D, etc.) within the <answer> </answer> tags."
    )


def test_other_types_show_no_options_and_ask_in_their_own_words() -> None:
    text = question_text(SAMPLE.model_copy(update={"problem_type": "regression"}), "video-r1")
    assert "Options" not in text
    assert text.endswith("Please provide the numerical value (e.g., 42 or 3.14) within the <answer> </answer> tags.")


def test_the_plain_prompt_is_the_question_and_its_options() -> None:
    assert question_text(SAMPLE, "plain") == "Which way {does} it move?\nA. left\nB. right"


def test_the_target_is_the_thought_then_the_answer() -> None:
    assert target_text("<think>t</think>", "B") == "<think>t</think>\n<answer>B</answer>"


def test_videorft_asks_in_the_papers_words_with_each_option_on_its_line() -> None:
    paper, videorft = (question_text(SAMPLE, style) for style in ("video-r1", "videorft"))
    assert videorft == paper.replace("Options:", "")
    other = SAMPLE.model_copy(update={"problem_type": "free-form"})
    assert question_text(other, "videorft") == question_text(other, "video-r1")


def test_onethinker_asks_in_the_words_of_its_own_code() -> None:
    assert question_text(SAMPLE, "onethinker") == (
        "Which way {does} it move?\nOptions:\nA. left\nB. right\n"
        "Please answer this question based on the visual content."
        "Provide your thinking process between the <think> and </think> tags, "
        "and then give your final answer between the <answer> and </answer> tags."
        "At the end, you must output the final answer in the format:\n<answer><your_answer_here></answer>\n"
        "Please provide only the single option letter (e.g., A, B, C, D, etc.) within the <answer>...</answer> tags.\n"
        "Example:\n<answer>A</answer>"
    )


def test_easyvideor1_asks_for_a_thought_in_tags_of_its_own() -> None:
    text = question_text(SAMPLE.model_copy(update={"problem_type": "regression"}), "easyvideor1")
    assert text == (
        "Which way {does} it move?\nPlease answer this question based on the visual content.\n"
        "Provide your thinking process between the <thought> and </thought> tags, "
        "and then give your final answer between the <answer> and </answer> tags.\n"
        "At the end, you must output the final answer in the format:\n<answer><your_answer_here></answer>\n"
        "Please provide only the numerical value within the <answer>...</answer> tags.\nExample:\n<answer>3.14</answer>"
    )


@pytest.mark.parametrize("style", get_args(PromptStyle))
@pytest.mark.parametrize("kind", get_args(ProblemType))
def test_every_style_asks_every_type_and_shows_the_question_first(style: PromptStyle, kind: ProblemType) -> None:
    text = question_text(SAMPLE.model_copy(update={"problem_type": kind}), style)
    assert text.startswith("Which way {does} it move?")
    assert ("B. right" in text) == (kind == "multiple choice")
    assert ("<answer>" in text) == (style != "plain")


@pytest.mark.parametrize(
    "output",
    [
        "<think>It goes left.</think>\n<answer>A</answer>",  # Video-R1, VideoRFT, OneThinker
        "<think>Is it <answer>B</answer>? No.</think><answer>A</answer>",
        "<thought>It goes left.</thought>\n<answer>A</answer>",  # EasyVideoR1
    ],
)
def test_the_answer_is_read_from_the_format_of_each_checkpoint(output: str) -> None:
    assert extract_answer(output) == "A"
    assert grade(extract_answer(output), "A", "multiple choice", SAMPLE.options) == 1


@pytest.mark.parametrize(
    ("answer", "right", "kind"),
    [
        ("3.14", "3.14", "numerical"),
        ("42.7", "42.7", "regression"),
        ("$$-\\dfrac{3}{2}$$", "-1.5", "numerical"),  # how OneThinker writes a number of its type "math"
        ("Hello World", "Hello World", "OCR"),
        ("The capital of France is Paris.", "The capital of France is Paris.", "free-form"),
    ],
)
def test_the_examples_in_the_prompts_are_graded_as_answers(answer: str, right: str, kind: ProblemType) -> None:
    assert grade(extract_answer(f"<think>t</think><answer>{answer}</answer>"), right, kind) == pytest.approx(1)

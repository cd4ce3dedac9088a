"""The words of a question."""

from stages.data.prompt import question_text, target_text
from stages.data.sample import Sample

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

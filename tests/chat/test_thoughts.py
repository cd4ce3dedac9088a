"""One thought and one answer from what a thinking model sends."""

import pytest

from stages.chat.thoughts import joined

WHOLE = "<think>it moves left</think>\n<answer>A</answer>"


@pytest.mark.parametrize(
    ("text", "reasoning"),
    [
        ("<answer>A</answer>", "it moves left"),
        ("\n\n<answer>A</answer>", "\nit moves left\n"),
        ("A", "it moves left"),
        ("", "it moves left</think><answer>A</answer>"),
        ("", WHOLE),
        ("", "it moves left <answer>A</answer>"),
        ("it moves left</think><answer>A</answer>", ""),
        ("\nit moves left\n</think>\n\n<answer>A</answer>\n", ""),
        (f"\n\n{WHOLE}", ""),
        (f"<think></think>{WHOLE}", ""),
        (f"<think>\n\n</think>\n\n{WHOLE}", ""),
        (f"</think>{WHOLE}", ""),
        ("<think></think>\n<answer>A</answer>", "it moves left"),
        ("<think>\n\n</think>\n\n<answer>A</answer>", "it moves left"),
        ("<answer>A</answer>", "<think>it moves left"),
        ("<answer>A</answer>", "<think>it moves left</think>"),
    ],
)
def test_each_form_becomes_one_thought_and_one_answer(text: str, reasoning: str) -> None:
    assert joined(text, reasoning) == WHOLE


def test_two_thoughts_and_a_leading_sentence_become_one_thought() -> None:
    assert joined(WHOLE, "first I look") == ("<think>first I look\n\nit moves left</think>\n<answer>A</answer>")
    assert joined("So it is <answer>A</answer>", "it moves left") == (
        "<think>it moves left\n\nSo it is</think>\n<answer>A</answer>"
    )


@pytest.mark.parametrize("text", [WHOLE, f"{WHOLE}\n", "<think></think><answer>A</answer>"])
def test_a_whole_answer_stays_as_it_is(text: str) -> None:
    assert joined(text, "") == text


@pytest.mark.parametrize(
    ("text", "reasoning"),
    [
        ("it moves left, A", ""),
        ("<answer>A</answer>", ""),
        ("it moves left <answer>A</answer>", ""),
        ("<think>it moves left <answer>A</answer>", ""),
        (f"{WHOLE} and that is it", ""),
        (f"{WHOLE}<answer>B</answer>", ""),
        ("", "it moves left"),
        ("<answer>A</answer>", "I put it into <answer> tags"),
    ],
)
def test_what_is_not_one_thought_and_one_answer_stays_as_it_is(text: str, reasoning: str) -> None:
    assert joined(text, reasoning) == text

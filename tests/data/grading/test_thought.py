import pytest

from stages.data.grading.thought import conclusion_start, frames_named


@pytest.mark.parametrize(
    ("text", "conclusion"),
    [
        ("<think>frame 1 left, so it moves left, option A.</think>\n<answer>A</answer>", "so it moves left"),
        ("<think>So far so good. It falls. Therefore B.</think><answer>B</answer>", "Therefore B."),
        ("<think>It is red. It falls down.</think><answer>B</answer>", "It falls down."),
        ("<think>It falls</think><answer>so B</answer>", "It falls"),
        ("<think>also a sofa, thus 3</think>3", "thus 3"),
    ],
)
def test_a_conclusion_starts_at_the_last_so_or_with_the_last_sentence(text: str, conclusion: str) -> None:
    start = conclusion_start(text)
    assert start is not None
    assert text[start:].startswith(conclusion)


@pytest.mark.parametrize("text", ["<think>frame 1 left, so it moves left", "so A", "</think><think>so A"])
def test_an_open_thought_has_no_conclusion(text: str) -> None:
    assert conclusion_start(text) is None


def test_frames_and_times_are_counted() -> None:
    assert frames_named("frame 1 left, frame 3 left, Frame #3 again, at 2.5s and 4 seconds") == (5, 4)
    assert frames_named("it is on olive, 3 things, framed, 5 so") == (0, 0)

"""The text of a question, the same for every stage that asks.

The styles beside "plain" are the words of released models, each from its own code; docs/other-checkpoints.md names the
files. What they print without a space or a line break stands here without one.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

from stages.data.sample import ProblemType, Sample

PromptStyle = Literal["video-r1", "plain", "videorft", "onethinker", "easyvideor1"]


class _Words(NamedTuple):
    """The words of one style.

    `before` and `after` stand around the options of a multiple-choice question. `task` follows the question, and
    `answer` follows the task.
    """

    before: str
    after: str
    task: str
    answer: Mapping[ProblemType, str]


TAGS = ("<think>", "</think>", "<answer>", "</answer>")
"""Around the thought and the answer of a response."""

_PONDER = (
    "\nPlease think about this question as if you were a human pondering deeply. "
    "Engage in an internal dialogue using expressions such as 'let me think', 'wait', 'Hmm', 'oh, I see', "
    "'let's break it down', etc, or other natural language thought expressions "
    "It's encouraged to include self-reflection or verification in the reasoning process. "
    "Provide your detailed reasoning between the <think> and </think> tags, "
    "and then give your final answer between the <answer> and </answer> tags."
)
_PONDER_ANSWER: dict[ProblemType, str] = {
    "multiple choice": " Please provide only the single option letter (e.g., A, B, C, D, etc.) "
    "within the <answer> </answer> tags.",
    "numerical": " Please provide the numerical value (e.g., 42 or 3.14) within the <answer> </answer> tags.",
    "OCR": " Please transcribe text from the image/video clearly and provide your text answer "
    "within the <answer> </answer> tags.",
    "free-form": " Please provide your text answer within the <answer> </answer> tags.",
    "regression": " Please provide the numerical value (e.g., 42 or 3.14) within the <answer> </answer> tags.",
}
_EXAMPLES: dict[ProblemType, tuple[str, str]] = {
    "multiple choice": ("the single option letter (e.g., A, B, C, D, etc.)", "A"),
    "numerical": ("the numerical value", "3.14"),
    "OCR": ("the transcribed text", "Hello World"),
    "free-form": ("your text answer", "The capital of France is Paris."),
    "regression": ("the numerical value", "42.7"),
}


def _with_example(what: str, example: str) -> str:
    """How OneThinker and EasyVideoR1 ask for the answer."""
    return f"Please provide only {what} within the <answer>...</answer> tags.\nExample:\n<answer>{example}</answer>"


_ONETHINKER_ANSWER: dict[ProblemType, str] = {kind: _with_example(*words) for kind, words in _EXAMPLES.items()}
_WORDS: dict[PromptStyle, _Words] = {
    "video-r1": _Words("Options:\n", "\n", _PONDER, _PONDER_ANSWER),
    "videorft": _Words("\n", "\n", _PONDER, _PONDER_ANSWER),
    "onethinker": _Words(
        "\nOptions:\n",
        "",
        "\nPlease answer this question based on the visual content."
        "Provide your thinking process between the <think> and </think> tags, "
        "and then give your final answer between the <answer> and </answer> tags."
        "At the end, you must output the final answer in the format:\n<answer><your_answer_here></answer>\n",
        _ONETHINKER_ANSWER,
    ),
    "easyvideor1": _Words(
        "\nOptions:\n",
        "",
        "\nPlease answer this question based on the visual content.\n"
        "Provide your thinking process between the <thought> and </thought> tags, "
        "and then give your final answer between the <answer> and </answer> tags.\n"
        "At the end, you must output the final answer in the format:\n<answer><your_answer_here></answer>\n",
        {**_ONETHINKER_ANSWER, "regression": _with_example("the numerical value", "3.14")},
    ),
}


def question_text(sample: Sample, style: PromptStyle) -> str:
    """The text of the user's turn, which follows the frames.

    The style "plain" is the question and its options alone. Only multiple-choice questions show options.
    """
    options = "\n".join(sample.options) if sample.problem_type == "multiple choice" else ""
    if style == "plain":
        return f"{sample.problem}\n{options}" if options else sample.problem
    words = _WORDS[style]
    question = sample.problem + (words.before + options + words.after if options else "")
    return question + words.task + words.answer[sample.problem_type]


def target_text(process: str, answer: str) -> str:
    """The assistant's turn that SFT teaches (paper.md §4).

    It is the thought with its tags, a newline, and the answer in its tags.
    """
    return f"{process}\n<answer>{answer}</answer>"

"""The text of a question, the same for every stage that asks."""

from typing import Literal

from stages.data.sample import ProblemType, Sample

PromptStyle = Literal["video-r1", "plain"]

# Video-R1's released template with its sentence per answer type (its training, annotation and evaluation scripts).
_VIDEO_R1 = (
    "{question}\n"
    "Please think about this question as if you were a human pondering deeply. "
    "Engage in an internal dialogue using expressions such as 'let me think', 'wait', 'Hmm', 'oh, I see', "
    "'let's break it down', etc, or other natural language thought expressions "
    "It's encouraged to include self-reflection or verification in the reasoning process. "
    "Provide your detailed reasoning between the <think> and </think> tags, "
    "and then give your final answer between the <answer> and </answer> tags."
)
_VIDEO_R1_ANSWER: dict[ProblemType, str] = {
    "multiple choice": " Please provide only the single option letter (e.g., A, B, C, D, etc.) "
    "within the <answer> </answer> tags.",
    "numerical": " Please provide the numerical value (e.g., 42 or 3.14) within the <answer> </answer> tags.",
    "OCR": " Please transcribe text from the image/video clearly and provide your text answer "
    "within the <answer> </answer> tags.",
    "free-form": " Please provide your text answer within the <answer> </answer> tags.",
    "regression": " Please provide the numerical value (e.g., 42 or 3.14) within the <answer> </answer> tags.",
}


def question_text(sample: Sample, style: PromptStyle) -> str:
    """The text of the user's turn, which follows the frames.

    The style "video-r1" is the paper's template, "plain" the question and its options alone. As in the released code,
    "Options:" follows a multiple-choice question without a line break; other answer types show no options.
    """
    options = sample.options if sample.problem_type == "multiple choice" else ()
    if style == "plain":
        return "\n".join([sample.problem, *options])
    question = sample.problem + ("\n".join(["Options:", *options, ""]) if options else "")
    return _VIDEO_R1.replace("{question}", question) + _VIDEO_R1_ANSWER[sample.problem_type]


def target_text(process: str, answer: str) -> str:
    """The assistant's turn that SFT teaches (paper.md §4).

    It is the thought with its tags, a newline, and the answer in its tags.
    """
    return f"{process}\n<answer>{answer}</answer>"

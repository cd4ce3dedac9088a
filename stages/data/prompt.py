"""The words of a question, in one place: training, annotation, rollout and evaluation all ask with these."""

from typing import Literal

from stages.data.sample import ProblemType, Sample

PromptStyle = Literal["video-r1", "plain"]

# Video-R1's released template (its training, annotation and evaluation scripts), the sentence per answer type included.
_VIDEO_R1 = (
    "{question}\n"
    "Please think about this question as if you were a human pondering deeply. "
    "Engage in an internal dialogue using expressions such as 'let me think', 'wait', 'Hmm', 'oh, I see', 'let's break it down', etc, "
    "or other natural language thought expressions "
    "It's encouraged to include self-reflection or verification in the reasoning process. "
    "Provide your detailed reasoning between the <think> and </think> tags, "
    "and then give your final answer between the <answer> and </answer> tags."
)
_VIDEO_R1_ANSWER: dict[ProblemType, str] = {
    "multiple choice": " Please provide only the single option letter (e.g., A, B, C, D, etc.) within the <answer> </answer> tags.",
    "numerical": " Please provide the numerical value (e.g., 42 or 3.14) within the <answer> </answer> tags.",
    "OCR": " Please transcribe text from the image/video clearly and provide your text answer within the <answer> </answer> tags.",
    "free-form": " Please provide your text answer within the <answer> </answer> tags.",
    "regression": " Please provide the numerical value (e.g., 42 or 3.14) within the <answer> </answer> tags.",
}


def question_text(sample: Sample, style: PromptStyle) -> str:
    """The user turn's text, which follows the frames: "video-r1" is the paper's template, "plain" only the question and its options.

    As in the released code, the options of a multiple-choice question are listed after it, without a line break before
    "Options:"; other types show none.
    """
    options = sample.options if sample.problem_type == "multiple choice" else ()
    if style == "plain":
        return "\n".join([sample.problem, *options])
    question = sample.problem + ("\n".join(["Options:", *options, ""]) if options else "")
    return _VIDEO_R1.replace("{question}", question) + _VIDEO_R1_ANSWER[sample.problem_type]


def target_text(process: str, answer: str) -> str:
    """What SFT teaches the assistant to say: the thought with its tags, a newline, the answer in its tags (paper.md §4)."""
    return f"{process}\n<answer>{answer}</answer>"

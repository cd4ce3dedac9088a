"""The one grader, for rewards, filtering and evaluation.

output   the answer inside an output, and whether the output is well formed
choice   the option that an answer names
number   the number in an answer
text     word error rate and ROUGE
"""

from collections.abc import Sequence

from stages.data.grading.choice import named_option, option_texts
from stages.data.grading.number import numbers_in, parse_number, relative_accuracy, same_number
from stages.data.grading.output import Strictness, extract_answer, is_well_formed
from stages.data.grading.text import MAX_ANSWER, free_form, word_error_rate
from stages.data.sample import ProblemType

__all__ = [
    "MAX_ANSWER",
    "Strictness",
    "extract_answer",
    "grade",
    "is_well_formed",
    "named_option",
    "numbers_in",
    "option_texts",
    "parse_number",
    "same_number",
]


def grade(
    prediction: str | None,
    answer: str,
    problem_type: ProblemType,
    options: Sequence[str] = (),
    strictness: Strictness = "default",
) -> float:
    """The accuracy reward in [0, 1] of an extracted answer (paper, §3).

    It is 0 without an answer.

    `options` are the lines of a multiple-choice question. With `strictness="reference-code"` letters and numbers must
    be written alike, as in the released code.
    """
    if prediction is None or not prediction.strip():
        return 0.0
    match problem_type:
        case "multiple choice":
            return float(_same_option(prediction, answer, options, strictness))
        case "numerical":
            return float(same_number(prediction, answer, strictness))
        case "OCR":
            return 1.0 - word_error_rate(prediction, answer, strictness)
        case "free-form":
            return free_form(prediction, answer, strictness)
        case "regression":
            return relative_accuracy(prediction, answer, strictness)


def _same_option(prediction: str, answer: str, options: Sequence[str], strictness: Strictness) -> bool:
    if strictness == "reference-code":
        return prediction.strip() == answer.strip()
    named = named_option(prediction, options)
    return named is not None and named == named_option(answer, options)

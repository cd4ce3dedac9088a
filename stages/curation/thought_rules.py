"""Rules about one answer of the teacher.

Each rule returns why the answer is dropped, or None to keep it. Correctness (> 0.6), format and length are the paper's
(paper.md §4); the others are common practice, such as the n-gram repetition of Gopher and datatrove.
"""

import re
from collections.abc import Callable, Iterable
from functools import lru_cache

from stages.curation.params import RuleParams, ThoughtRule
from stages.curation.text import ngrams, scripts, thought_of, words
from stages.data.annotations import AnnotationRow
from stages.data.grading import (
    extract_answer,
    grade,
    is_well_formed,
    named_option,
    numbers_in,
    option_texts,
    parse_number,
)
from stages.data.prompt import question_text
from stages.data.sample import ProblemType, Sample
from stages.data.special_tokens import SPECIAL_TOKEN

_SENTENCE = re.compile(r"[^.!?\n]+(?:[.!?](?=\d)[^.!?\n]*)*")  # a point inside a number ends no sentence
_NAMED_OPTION = re.compile(r"\b(?i:option|answer|choice)(?i: is)?:?\s*[(*]*([A-Z])\b|\(([A-Z])\)")
_DENIED_OPTION = re.compile(
    r"(?:\bnot|n't|\bthan|\binstead of)(?: the)?(?i: option| answer| choice)?\s*[(*]*[A-Z]\b\)?"
)
_NUMBER_WORDS = (
    *("zero", "one", "two", "three", "four", "five", "six"),
    *("seven", "eight", "nine", "ten", "eleven", "twelve"),
)
LEAK_GRAM = 8  # words in a row that a thought shares with the prompt's instructions


def answered(sample: Sample, answer: AnnotationRow, params: RuleParams) -> str | None:
    """The teacher answered: its request did not fail and was not refused."""
    return f"{answer['status']}: {answer['detail']}" if answer["status"] in ("failed", "refused") else None


def not_truncated(sample: Sample, answer: AnnotationRow, params: RuleParams) -> str | None:
    """The teacher's answer came to its end."""
    return answer["detail"] or "truncated" if answer["status"] == "truncated" else None


def well_formed(sample: Sample, answer: AnnotationRow, params: RuleParams) -> str | None:
    """One thought and one answer, nothing else, neither empty."""
    if not is_well_formed(answer["text"]):
        return f"not <think>…</think><answer>…</answer>: {answer['text'][:80]!r}"
    if not thought_of(answer["text"]):
        return "empty thought"
    return None if extract_answer(answer["text"]) else "empty answer"


def correctness(sample: Sample, answer: AnnotationRow, params: RuleParams) -> str | None:
    """The answer's grade exceeds the bound of its answer type."""
    given, bound = extract_answer(answer["text"]), params.min_correctness.get(sample.problem_type, 0.6)
    score = grade(given, sample.answer, sample.problem_type, sample.options)
    return None if score > bound else f"{given!r} for {sample.answer!r}: {score:.2f}, not above {bound:g}"


def length(sample: Sample, answer: AnnotationRow, params: RuleParams) -> str | None:
    """The answer has between `min_tokens` and `max_tokens` tokens."""
    if params.min_tokens <= answer["completion_tokens"] <= params.max_tokens:
        return None
    return f"{answer['completion_tokens']} tokens, not {params.min_tokens} to {params.max_tokens}"


def repetition(sample: Sample, answer: AnnotationRow, params: RuleParams) -> str | None:
    """Few of the thought's n-grams occur again in the thought."""
    grams = ngrams(words(thought_of(answer["text"])), params.repetition_gram)
    share = 1 - len(set(grams)) / len(grams) if grams else 0.0
    return f"{share:.0%} of the {params.repetition_gram}-grams repeat" if share > params.max_repetition else None


def language(sample: Sample, answer: AnnotationRow, params: RuleParams) -> str | None:
    """The thought stays in the scripts of the question.

    The rule drops the thoughts of a teacher that changes to Chinese half-way.
    """
    asked = scripts(f"{sample.problem} {' '.join(sample.options)} {sample.answer}")
    thought = scripts(thought_of(answer["text"]))
    foreign = sum(count for name, count in thought.items() if name not in asked)
    if foreign <= params.max_foreign * thought.total():
        return None
    return f"{foreign} of {thought.total()} letters are {', '.join(sorted(set(thought) - set(asked)))}"


def conclusion(sample: Sample, answer: AnnotationRow, params: RuleParams) -> str | None:
    """The thought's last sentence does not contradict the answer.

    A sentence without an option or a number contradicts nothing.
    """
    sentences = [part for part in _SENTENCE.findall(thought_of(answer["text"])) if part.strip()]
    last = sentences[-1] if sentences else ""
    given = extract_answer(answer["text"]) or ""
    if sample.problem_type == "multiple choice":
        contradicts = _names_another_option(last, given, sample)
    elif sample.problem_type in ("numerical", "regression"):
        contradicts = _has_only_other_numbers(last, given)
    else:
        contradicts = False
    return f"answer {given!r} after {last.strip()[-80:]!r}" if contradicts else None


def no_leak(sample: Sample, answer: AnnotationRow, params: RuleParams) -> str | None:
    """The thought repeats no instruction and holds no special token."""
    thought = thought_of(answer["text"])
    if token := SPECIAL_TOKEN.search(thought):
        return f"special token {token.group()}"
    shared = _instructions(sample.problem_type) & set(ngrams(words(thought), LEAK_GRAM))
    return f"repeats the prompt: {' '.join(min(shared))}" if shared else None


THOUGHT_RULES: dict[ThoughtRule, Callable[[Sample, AnnotationRow, RuleParams], str | None]] = {
    "answered": answered,
    "not_truncated": not_truncated,
    "well_formed": well_formed,
    "correctness": correctness,
    "length": length,
    "repetition": repetition,
    "language": language,
    "conclusion": conclusion,
    "no_leak": no_leak,
}


def _names_another_option(sentence: str, given: str, sample: Sample) -> bool:
    """Whether a sentence names options, but not the given one.

    An option that the sentence denies ("not option B") is not named.
    """
    found = _NAMED_OPTION.findall(_DENIED_OPTION.sub("", sentence))
    named = {after_word or in_brackets for after_word, in_brackets in found}
    if sample.options:
        named &= set(option_texts(sample.options))
    return bool(named) and named_option(given, sample.options) not in named


def _has_only_other_numbers(sentence: str, given: str) -> bool:
    """Whether a sentence has numbers and none rounds to the given one.

    A sentence without a number in figures does not count.
    """
    target, in_figures = parse_number(given), numbers_in(sentence)
    if target is None or not in_figures:
        return False
    in_words = [float(_NUMBER_WORDS.index(word)) for word in words(sentence) if word in _NUMBER_WORDS]
    return not _rounds_to(abs(target), [*in_figures, *in_words])


def _rounds_to(target: float, numbers: Iterable[float]) -> bool:
    """Whether a number rounds to `target` at its decimal places, signs aside."""
    places = len(f"{target:.10g}".partition(".")[2])
    return any(round(abs(number), places) == target for number in numbers)


@lru_cache(maxsize=16)
def _instructions(problem_type: ProblemType) -> frozenset[tuple[str, ...]]:
    """8-grams of the paper's prompt without its question."""
    blank = Sample(
        sample_id="",
        source="",
        data_type="video",
        problem_type=problem_type,
        problem="",
        answer="",
        media_path="",
        media_sha256="",
    )
    return frozenset(ngrams(words(question_text(blank, "video-r1")), LEAK_GRAM))

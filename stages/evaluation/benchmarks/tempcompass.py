"""TempCompass: four tasks on short clips that differ in time only."""

import re
from collections.abc import Iterator
from pathlib import Path

from stages.data.grading import extract_answer
from stages.data.sample import Reject, Sample
from stages.evaluation.benchmark_records import Fields, read_benchmark
from stages.evaluation.definition import About, Benchmark, Judging, Profile

_OPTION_INDEX = re.compile(r"(?:Option|Sentence|Caption) ")


def read(root: Path) -> Iterator[Sample | Reject]:
    """Video-R1's `eval_tempcompass.json`, or the official `<task>/test*` files with `videos/<video_id>.mp4`.

    The category is `<task>/<dimension>`. The options of a captioning question are the lines of the official
    multiple-choice question about its clip, which only a judge sees.
    """
    yield from read_benchmark(root, "tempcompass", _video_r1, _official, "*/test*")


def score(prediction: str | None, sample: Sample, profile: Profile) -> float | None:
    """Whether the answer matches by the official rules of its task.

    For Video-R1 the answer must be exactly the right one. An answer that the official matching does not recognise
    counts 0, as in the benchmark's own code without a judge. Captioning is not scored in either profile, because only a
    judge can score it (see `judged`).
    """
    task = sample.category.split("/")[0]
    if task == "captioning":
        return None
    if profile == "video-r1":
        return float((prediction or "").strip() == sample.answer)
    if prediction is None:
        return 0.0
    if task == "yes_no":
        return float(prediction.lower().startswith(sample.answer.lower()))
    if task == "caption_matching":
        return float(match_caption(prediction, sample.problem.split("\n")[1:]) == sample.answer)
    return float(match_option(prediction, sample.options) == sample.answer[:1])


def judged(prediction: str | None, sample: Sample) -> Judging:
    """A judge decides captions, and answers that no rule matches.

    The benchmark's own code does so too.
    """
    task = sample.category.split("/")[0]
    if task == "captioning":
        return "caption" if sample.options else "answer"
    if prediction is None:
        return "answer"
    match task:
        case "yes_no":
            is_matched = prediction.lower().startswith(("yes", "no"))
        case "caption_matching":
            is_matched = match_caption(prediction, sample.problem.split("\n")[1:]) is not None
        case _:
            is_matched = match_option(prediction, sample.options) is not None
    return "check" if is_matched else "answer"


def match_option(prediction: str, options: tuple[str, ...]) -> str | None:
    """The letter that a multiple-choice answer means, or None.

    The answer is a whole option, a bare letter, or begins with `X.` or `X)`.
    """
    if prediction in options:
        return prediction[0]
    if re.fullmatch(r"[A-D]|[A-D][.)].*", prediction, re.DOTALL):
        return prediction[0]
    return None


def match_caption(prediction: str, options: list[str]) -> str | None:
    """The option line ("Sentence A: …") that an answer means.

    The answer is the whole line, its sentence, or its index with or without the word before it.
    """
    for option in options:
        index, colon, sentence = option.partition(": ")
        if not colon:  # the line is no option
            continue
        bare = _OPTION_INDEX.sub("", index)
        if prediction in (option, sentence, index, bare) or prediction.replace(".", "") in (index, bare):
            return option
        if prediction.partition(") ")[2] == sentence:
            return option
    return None


def _video_r1(fields: Fields) -> Fields:
    """Add the task, which the file does not name, to the category."""
    dimension = fields.get("dim") or fields.get("original_question_type") or "any"
    return {**fields, "original_question_type": f"{_task(fields)}/{dimension}"}


def _task(fields: Fields) -> str:
    """The task of a question, which its form shows."""
    answer = (extract_answer(fields["solution"]) or fields["solution"]).strip()
    if fields["problem_type"] == "multiple choice":
        return "multi-choice"
    if answer.lower() in ("yes", "no"):
        return "yes_no"
    return "caption_matching" if answer in fields["problem"].split("\n")[1:] else "captioning"


def _official(fields: Fields, file: Path) -> Fields:
    task = file.parent.name
    problem, *options = fields["question"].split("\n") if task == "multi-choice" else [fields["question"]]
    if task == "captioning":  # only the judge is shown the multiple-choice question
        options = fields.get("mc_question", "").split("\n") if fields.get("mc_question") else []
    return {
        "problem": problem,
        "data_type": "video",
        "problem_type": "multiple choice" if task == "multi-choice" else "free-form",
        "options": options,
        "solution": fields["answer"][:1] if task == "multi-choice" else fields.get("answer") or fields["mc_answer"],
        "path": f"videos/{fields['video_id']}.mp4",
        "original_question_type": f"{task}/{fields['dim']}",
    }


ABOUT = About(
    questions=7540,
    metric="accuracy by the matching rules of four tasks; captioning and unmatched answers need a judge",
    hub=("lmms-lab/TempCompass",),
    checked="scorer: 1,896 recorded ratings; reader: records made to the official layout",
)
BENCHMARK = Benchmark(about=ABOUT, read=read, score=score, judged=judged)

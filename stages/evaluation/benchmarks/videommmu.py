"""VideoMMMU: college-level questions in three tracks about lecture videos, and Δknowledge."""

import glob
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from stages.data.grading import parse_number, same_number
from stages.data.sample import Reject, Sample
from stages.evaluation.benchmark_records import Fields, read_benchmark, video_r1_records
from stages.evaluation.definition import About, Benchmark, Judging, Profile, ScoredRow, score_answer
from stages.evaluation.statistics import Estimate, normalised_gain

_BETWEEN_ANSWERS = re.compile(r"""(?<=['"])\s*,\s*|\s*,\s*(?=['"])""")
QUESTION_ONLY = "Question-only"  # the questions of Adaptation without the lecture


def read(root: Path) -> Iterator[Sample | Reject]:
    """Video-R1's `eval_videommmu.json`, or the official `<track>/test*` files with `<discipline>/<id>.mp4`.

    The category is the track where the official records are read; Video-R1's own file does not say it. Where the
    official folder `question_only` is there, the questions of Adaptation are asked a second time, on its 2 s clips of
    the question's picture. These have a category of their own, which no mean includes.
    """
    yield from read_benchmark(root, "videommmu", lambda fields: fields, _official, "[PCA]*[st]ion/test*")
    if (root / "question_only").is_dir() and not video_r1_records(root, "videommmu").is_file():
        yield from read_benchmark(root, "videommmu", lambda fields: fields, _question_only, "Adaptation/test*")


def score(prediction: str | None, sample: Sample, profile: Profile) -> float | None:
    """The grader's score; for an open question whether it is accepted.

    A number counts when it is the same number. Text counts when it occurs in the answer, in either case, as in the
    benchmark's own code. Video-R1: the grader's score.
    """
    if profile == "video-r1" or sample.problem_type == "multiple choice":
        return score_answer(prediction, sample, profile)
    return float(any(_is_accepted(prediction or "", answer) for answer in accepted_answers(sample.answer)))


def judged(prediction: str | None, sample: Sample) -> Judging:
    """A judge only checks: rules score open questions too.

    The benchmark's own code does so.
    """
    return "check"


def accepted_answers(answer: str) -> list[str]:
    """The answers that count as right, such as "24/7" and "3.429".

    A list is written "['24/7', '3.429']"; its last quote or bracket may be missing.
    """
    if not answer.startswith("["):
        return [answer]
    parts = _BETWEEN_ANSWERS.split(answer.removeprefix("[").removesuffix("]"))
    return [part.strip(" '\"") for part in parts if part.strip(" '\"")]


def delta_knowledge(rows: Sequence[ScoredRow], profile: Profile) -> dict[str, Estimate]:
    """Δknowledge: the share of wrong answers that the lecture turns right.

    (Adaptation − question-only) / (1 − question-only), over the questions that were asked both ways with frames in
    order.
    """
    ordered = [row for row in rows if row["order"] == "ordered" and row[profile] is not None]
    after = {_question(row): row[profile] for row in ordered if row["category"] == "Adaptation"}
    before = {_question(row): row[profile] for row in ordered if row["category"] == QUESTION_ONLY}
    both = sorted(after.keys() & before.keys())
    after_N, before_N = (np.array([scores[question] for question in both]) for scores in (after, before))
    found = normalised_gain(after_N, before_N)
    return {"delta_knowledge": found} if found else {}


def _question(row: ScoredRow) -> str:
    return row["sample_id"].removeprefix("videommmu-").partition("-")[2]


def _is_accepted(prediction: str, answer: str) -> bool:
    if parse_number(answer) is not None:
        return same_number(prediction, answer)
    given, right = (" ".join(text.lower().split()) for text in (prediction, answer))
    return f" {right} " in f" {given} " if len(right) == 1 else right in given


def _official(fields: Fields, file: Path) -> Fields:
    root = file.parents[1]
    media = next(iter(sorted(root.glob(f"*/{glob.escape(fields['id'])}.mp4"))), root / f"{fields['id']}.mp4")
    options = fields["options"] or []
    open_type = "numerical" if parse_number(str(fields["answer"])) is not None else "free-form"
    return {
        "problem_id": f"{file.parent.name}-{fields['id']}",
        "problem": fields["question"],
        "data_type": "video",
        "problem_type": "multiple choice" if options else open_type,
        "options": options,
        "solution": str(fields["answer"]),
        "path": str(media.relative_to(root)),
        "original_question_type": file.parent.name,
    }


def _question_only(fields: Fields, file: Path) -> Fields:
    # "QuestionOnly" has no hyphen, because the track is the part of the id before the first hyphen.
    names = {"problem_id": f"QuestionOnly-{fields['id']}", "original_question_type": QUESTION_ONLY}
    return _official(fields, file) | names | {"path": f"question_only/{fields['id']}_image.mp4"}


ABOUT = About(
    questions=900,
    metric="accuracy of three tracks, and Δknowledge",
    hub=("lmms-lab/VideoMMMU",),
    checked="scorer: 390 recorded outputs of the paper's code; reader: records made to the official layout",
)
BENCHMARK = Benchmark(
    about=ABOUT, read=read, score=score, judged=judged, apart=frozenset({QUESTION_ONLY}), figures=delta_knowledge
)

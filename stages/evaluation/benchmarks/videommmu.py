"""VideoMMMU: college-level questions in three tracks about lecture videos, and Δknowledge."""

import glob
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from stages.data.grading import lettered, parse_number
from stages.data.sample import Reject, Sample
from stages.evaluation.benchmark_records import Fields, read_benchmark, video_r1_records
from stages.evaluation.definition import Benchmark, Profile, ScoredRow
from stages.evaluation.statistics import Estimate, normalised_gain

QUESTION_ONLY = "Question-only"  # the questions of Adaptation without the lecture


def read(root: Path) -> Iterator[Sample | Reject]:
    """Video-R1's `eval_videommmu.json`, or the official `<track>/test*` files with `<discipline>/<id>.mp4`.

    The category is the track where the official records are read; Video-R1's own file does not say it. Where the
    official folder `question_only` is there, the questions of Adaptation are asked a second time, on its 2 s clips of
    the question's picture. These have a category of their own, which no mean includes.
    """
    yield from read_benchmark(root, "videommmu", lambda fields: fields, _official, "[PCA]*/test*")
    if (root / "question_only").is_dir() and not video_r1_records(root, "videommmu").is_file():
        yield from read_benchmark(root, "videommmu", lambda fields: fields, _question_only, "Adaptation/test*")


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


def _official(fields: Fields, file: Path) -> Fields:
    root = file.parents[1]
    media = next(iter(sorted(root.glob(f"*/{glob.escape(fields['id'])}.mp4"))), root / f"{fields['id']}.mp4")
    options = lettered(fields["options"] or [])
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


BENCHMARK = Benchmark(read=read, apart=frozenset({QUESTION_ONLY}), figures=delta_knowledge)

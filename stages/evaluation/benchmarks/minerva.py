"""MINERVA: five options, and questions that need several steps."""

from collections.abc import Iterator
from pathlib import Path

from stages.data.options import LETTERS
from stages.data.sample import Reject, Sample
from stages.evaluation.benchmark_records import Fields, choice, read_benchmark
from stages.evaluation.definition import About, Benchmark

CHOICES = tuple(f"answer_choice_{number}" for number in range(len(LETTERS)))


def read(root: Path) -> Iterator[Sample | Reject]:
    """The official `minerva.json` with `<video_id>.mp4` anywhere below.

    The category is the list of skills that the question needs, joined by `/`; each skill has its own figures.
    """
    yield from read_benchmark(root, "minerva", lambda fields: fields, _official, "minerva.json")


def _official(fields: Fields, file: Path) -> Fields:
    skills = fields["question_type"].split(",")
    return choice(
        fields["question"],
        [fields[each] for each in CHOICES if fields.get(each)],
        LETTERS[int(fields["answer_id"])],
        f"{fields['video_id']}.mp4",
        "/".join(skill.strip() for skill in skills),
        problem_id=fields["key"],
    )


ABOUT = About(
    questions=1515,
    metric="accuracy; the score of the reasoning needs a judge and is not computed",
    hub=(),
    checked=(
        "reader: the fields of the official description, which lmms-eval reads too; no official record was seen; the "
        "videos are on YouTube, and in a Lance table of lmms-lab-eval/minerva, which is not read; 1,515 by the paper, "
        "and 1,341 in a copy that others counted"
    ),
)
BENCHMARK = Benchmark(about=ABOUT, read=read)

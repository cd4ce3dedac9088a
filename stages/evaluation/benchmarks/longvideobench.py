"""LongVideoBench: questions that refer to a moment of a long video."""

from collections.abc import Iterator
from pathlib import Path

from stages.data.options import LETTERS
from stages.data.sample import Reject, Sample
from stages.evaluation.benchmark_records import Fields, choice, read_benchmark
from stages.evaluation.definition import About, Benchmark

# The second level of the benchmark: relations between moments. The first level (S2E, T2O, …) perceives one moment.
RELATIONS = frozenset({"E3E", "O3O", "SSS", "SOS", "SAA", "T3E", "T3O", "TOS", "TAA"})


def read(root: Path) -> Iterator[Sample | Reject]:
    """The official `lvb_val.json` with `videos/<video_path>`, without subtitles.

    The category is `<question category>/<duration group in seconds>`; each part has its own figures.
    """
    yield from read_benchmark(root, "longvideobench", lambda fields: fields, _official, "lvb_val.json")


def _official(fields: Fields, file: Path) -> Fields:
    return choice(
        fields["question"],
        fields["candidates"],
        LETTERS[fields["correct_choice"]],
        f"videos/{fields['video_path']}",
        f"{fields['question_category']}/{fields['duration_group']}",
        problem_id=fields["id"],
    )


DURATIONS = (15, 60, 600, 3600)
ABOUT = About(
    questions=1337,
    metric="accuracy of the validation set",
    hub=("longvideobench/LongVideoBench",),
    checked=(
        "reader: two or three official records, from third parties' copies; the videos on the hub are one archive in "
        "parts (join them with `cat`), behind a form; types and relations by the paper's table"
    ),
)
BENCHMARK = Benchmark(
    about=ABOUT,
    read=read,
    temporal=frozenset(f"{relation}/{seconds}" for relation in RELATIONS for seconds in DURATIONS),
)

"""TVBench: ten tasks that neither one frame nor the words can answer."""

from collections.abc import Iterator
from pathlib import Path

from stages.data.sample import Reject, Sample
from stages.evaluation.benchmark_records import Fields, choice, read_benchmark
from stages.evaluation.definition import About, Benchmark

TASKS = frozenset(
    {
        "action_antonym",
        "action_count",
        "action_localization",
        "action_sequence",
        "egocentric_sequence",
        "moving_direction",
        "object_count",
        "object_shuffle",
        "scene_transition",
        "unexpected_action",
    }
)

BOUNDED = frozenset({"action_localization", "action_sequence"})  # as in the official notebook


def read(root: Path) -> Iterator[Sample | Reject]:
    """The official `json/<task>.json` with the clips in `video/<task>/`.

    The category is the task. The clips of two tasks are cut to the record's `start` and `end`.
    """
    yield from read_benchmark(root, "tvbench", lambda fields: fields, _official, "json/*.json")


def _official(fields: Fields, file: Path) -> Fields:
    return choice(
        fields["question"],
        fields["candidates"],
        fields["answer"],
        f"video/{file.stem}/{fields['video']}",
        file.stem,
        **({"clip_start": fields["start"], "clip_end": fields["end"]} if file.stem in BOUNDED else {}),
    )


ABOUT = About(
    questions=2525,
    metric="accuracy over all questions, and that of each of ten tasks",
    hub=("FunAILab/TVBench",),
    checked=(
        "reader: the files, folders, fields and bounds that the official notebook reads; no official record was seen; "
        "the NTU clips of action_antonym are not on the hub"
    ),
)
BENCHMARK = Benchmark(about=ABOUT, read=read, temporal=TASKS)

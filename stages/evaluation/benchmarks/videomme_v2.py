"""Video-MME-v2: four questions about each video, scored together."""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from stages.data.sample import Reject, Sample, Unusable
from stages.evaluation.benchmark_records import Fields, Rows, choice, read_benchmark, record_rows, split_options
from stages.evaluation.definition import About, Benchmark, Profile, ScoredRow
from stages.evaluation.statistics import Estimate, wilson

SIZE = 4  # questions of a group


class Group(NamedTuple):
    """The steps of a group, and the points for its right answers.

    `points` are those of 0 to 4 right answers. A step holds the numbers of its questions. A step counts when every
    question of the steps before it is right.
    """

    steps: tuple[tuple[int, ...], ...]
    points: tuple[int, ...]


# The official scoring maps. The questions of a relevance group stand in no order, so it has one step.
GROUPS = {
    "relevance": Group(((1, 2, 3, 4),), (0, 1, 4, 9, 16)),
    "logic [1, 2, 3, 4]": Group(((1,), (2,), (3,), (4,)), (0, 1, 4, 9, 16)),
    "logic [1, [2, 3], 4]": Group(((1,), (2, 3), (4,)), (0, 1, 4, 7, 12)),
    "logic [[1, 2], 3, 4]": Group(((1, 2), (3,), (4,)), (0, 1, 2, 5, 10)),
}
TEMPORAL = frozenset(f"level {level}/{group}" for level in (2, 3) for group in GROUPS)


def read(root: Path) -> Iterator[Sample | Reject]:
    """The official `test.parquet` with `<video_id>.mp4` anywhere below, without subtitles.

    The category is `level <n>/<group>`; each part has its own figures.
    """
    yield from read_benchmark(root, "videomme_v2", lambda fields: fields, _official, "test.parquet", rows=_rows)


def figures(rows: Sequence[ScoredRow], profile: Profile) -> dict[str, Estimate]:
    """The mean points of groups: all, each type, and each level.

    Only the groups whose four questions all have an answer count.
    """
    groups: dict[str, dict[int, ScoredRow]] = defaultdict(dict)
    for row in rows:
        if row["order"] == "ordered" and row[profile] is not None:
            groups[together(row["sample_id"])][int(row["sample_id"].rpartition("-")[2])] = row
    scores: dict[str, list[float]] = defaultdict(list)
    for group in groups.values():
        if len(group) == SIZE:
            level, _, kind = group[SIZE]["category"].rpartition("/")
            points = group_score(kind, {number: row[profile] == 1 for number, row in group.items()})
            for name in ("non_linear", kind.partition(" ")[0], level.replace(" ", "_")):
                scores[name].append(points)
    return {
        f"{name}_score": wilson(np.array(found), np.full(len(found), 1 / len(found)))
        for name, found in sorted(scores.items())
        if name
    }


def group_score(kind: str, right: dict[int, bool]) -> float:
    """The share of a group's points that its right answers earn.

    `right` is by the number of the question, 1 to 4.
    """
    steps, points = GROUPS[kind]
    count = 0
    for step in steps:
        found = sum(right[number] for number in step)
        count += found
        if found < len(step):
            break
    return points[count] / points[-1]


def together(sample_id: str) -> str:
    """The video's number, in "videomme_v2-001-1"."""
    return sample_id.removeprefix("videomme_v2-").rpartition("-")[0]


def _rows(file: Path) -> Rows:
    """The records, each with the level of its group's last record."""
    rows = list(record_rows(file))
    records = [raw for _, raw in rows if isinstance(raw, dict)]
    levels = {str(raw.get("video_id")): raw["level"] for raw in records if raw.get("level") not in (None, "None")}
    for place, raw in rows:
        yield place, {**raw, "level": levels.get(str(raw.get("video_id")))} if isinstance(raw, dict) else raw


def _official(fields: Fields, file: Path) -> Fields:
    problem, options = split_options(f"{fields['question']}\n{fields['options']}")
    return choice(
        problem, options, fields["answer"], f"{fields['video_id']}.mp4", _category(fields), problem_id=_id(fields)
    )


def _id(fields: Fields) -> str:
    """The video and the number of the question, such as "001-1"."""
    video, _, number = str(fields["question_id"]).rpartition("-")
    if not video or number not in ("1", "2", "3", "4"):
        raise Unusable("invalid record", f"the question's id {fields['question_id']} has no number from 1 to {SIZE}")
    return f"{video}-{number}"


def _category(fields: Fields) -> str:
    kind = fields["group_type"]
    if kind == "logic":
        kind = f"logic {json.dumps(json.loads(fields['group_structure']))}"
    if kind not in GROUPS:
        raise Unusable("invalid record", f"no scoring is known for the group {kind}")
    return kind if fields["level"] is None else f"level {int(fields['level'])}/{kind}"


ABOUT = About(
    questions=3200,
    metric="non-linear score of 800 groups of four questions, in all and by level; accuracy of the single questions",
    hub=("MME-Benchmarks/Video-MME-v2",),
    checked=(
        "reader: the fields that the official evaluator reads, in the types that a strict reader of the file by "
        "others demands; no official record was seen; scorer: the official maps of points, worked out by hand; an "
        "answer without a letter is wrong; without subtitles"
    ),
)
BENCHMARK = Benchmark(about=ABOUT, read=read, figures=figures, together=together, temporal=TEMPORAL)

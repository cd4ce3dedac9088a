"""Vinoground: pairs of clips and captions in two orders of events."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from stages.data.sample import Reject, Sample
from stages.evaluation.benchmark_records import Fields, choice, read_benchmark, split_options
from stages.evaluation.definition import About, Benchmark, Profile, ScoredRow
from stages.evaluation.statistics import Estimate, wilson


def read(root: Path) -> Iterator[Sample | Reject]:
    """The official `vinoground_textscore.json` and `vinoground_videoscore.json`.

    Media lie at the record's `video_name`. The category is `text` (which caption fits the clip) or `video` (which half
    of two clips in a row fits the caption).
    """
    official = ("vinoground_*score.json", "*/vinoground_*score.json")
    yield from read_benchmark(root, "vinoground", lambda fields: fields, _official, *official)


def figures(rows: Sequence[ScoredRow], profile: Profile) -> dict[str, Estimate]:
    """The official scores, of the counterexamples whose questions all have an answer.

    `text_score` and `video_score` are the shares with both questions of that category right, `group_score` that with
    all four right.
    """
    right: dict[str, dict[str, bool]] = defaultdict(dict)
    for row in rows:
        if row["order"] == "ordered" and row[profile] is not None:
            right[together(row["sample_id"])][row["sample_id"]] = row[profile] == 1
    kinds: dict[str, tuple[int, Callable[[str], bool]]] = {
        "text_score": (2, lambda name: name.endswith("-text")),
        "video_score": (2, lambda name: name.endswith("-video")),
        "group_score": (4, lambda name: True),
    }
    found = {}
    for score, (size, belongs) in kinds.items():
        chosen = [[value for name, value in group.items() if belongs(name)] for group in right.values()]
        shares_N = np.array([all(values) for values in chosen if len(values) == size], dtype=np.float64)
        if len(shares_N):
            found[score] = wilson(shares_N, np.full(len(shares_N), 1 / len(shares_N)))
    return found


def together(sample_id: str) -> str:
    """The counterexample's number, in "vinoground-0_pos-text"."""
    return sample_id.removeprefix("vinoground-").partition("_")[0]


def _official(fields: Fields, file: Path) -> Fields:
    category = "text" if "textscore" in file.name else "video"
    problem, options = split_options(fields["question"])
    return choice(
        problem,
        options,
        fields["GT"],
        fields["video_name"],
        category,
        problem_id=f"{fields['idx']}-{category}",
    )


ABOUT = About(
    questions=2000,
    metric="text, video and group score over 500 counterexamples",
    hub=("HanSolo9682/Vinoground",),
    checked=(
        "reader: the fields that the official code reads, and the two places that it and lmms-eval have for the "
        "files; no official record was seen; scorer: pairs and groups worked out by hand"
    ),
)
BENCHMARK = Benchmark(about=ABOUT, read=read, figures=figures, together=together, temporal=frozenset({"text", "video"}))

"""From source records to training sets: how many were left after each step, and why the others were not."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stages.data.sample import Reject, Sample


@dataclass(frozen=True)
class Step:
    """`count` of `of` records are left after this step."""

    name: str
    count: int
    of: int


def funnel(
    samples: Sequence[Sample],
    quarantine: Sequence[Reject],
    with_frames: int,
    annotations: Sequence[Mapping[str, Any]],
    sft: int,
    rl: int,
) -> dict[str, list[Step]]:
    """The common way of all records, then the two sets' own."""
    read = len(samples) + len(quarantine)
    for_sft = sum(sample.split in ("sft", "train") for sample in samples)
    for_rl = sum(sample.split in ("rl", "train") for sample in samples)
    answered = len({row["sample_id"] for row in annotations if row["status"] == "ok"})
    return {
        "Sources": [
            Step("records read", read, read),
            Step("valid, with readable media", len(samples), read),
            Step("frames extracted", with_frames, read),
        ],
        "SFT": [
            Step("meant for SFT", for_sft, for_sft),
            Step("thought by the teacher, well-formed", answered, for_sft),
            Step("thought kept by the filter", sft, for_sft),
        ],
        "RL": [Step("meant for RL", for_rl, for_rl), Step("kept by the filter", rl, for_rl)],
    }


def reasons(rejects: Sequence[Reject]) -> list[tuple[str, str, int]]:
    """(stage, reason, count), the most frequent first."""
    counts = Counter((reject.stage, reject.reason) for reject in rejects)
    return [
        (stage, reason, count)
        for (stage, reason), count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]


@dataclass(frozen=True)
class RuleTable:
    """What became of the samples of a set: one row of counts per rule that dropped some and one for the kept, a column per group."""

    groups: list[str]
    rows: list[tuple[str, list[int]]]


def by_rule(name: str, kept: Sequence[Sample], rejects: Sequence[Reject], samples: Mapping[str, Sample]) -> RuleTable:
    """Counts of one set ("SFT" or "RL") by rule, in all, for each source and for each answer type. Rules stand in the order of counts."""
    outcomes = [
        (reject.reason, samples[reject.sample_id]) for reject in rejects if reject.stage == f"filter {name.lower()}"
    ]
    counts: dict[str, Counter[str]] = {
        rule: Counter() for rule, _ in Counter(rule for rule, _ in outcomes).most_common()
    }
    counts["kept"] = Counter()
    for rule, sample in [*outcomes, *(("kept", sample) for sample in kept)]:
        counts[rule].update(["all", sample.source, sample.problem_type])
    sources = {sample.source for _, sample in outcomes} | {sample.source for sample in kept}
    types = {sample.problem_type for _, sample in outcomes} | {sample.problem_type for sample in kept}
    groups = ["all", *sorted(sources), *sorted(types)]
    return RuleTable(groups, [(rule, [count[group] for group in groups]) for rule, count in counts.items()])


def sources(samples: Sequence[Sample]) -> list[tuple[str, str, str, str, int]]:
    """(source, licence, problem type, data type, count) of what was taken, by source, the most frequent first."""
    counts = Counter((sample.source, sample.licence, sample.problem_type, sample.data_type) for sample in samples)
    return [(*key, count) for key, count in sorted(counts.items(), key=lambda item: (item[0][0], -item[1], item[0]))]


def composition(samples: Sequence[Sample]) -> list[tuple[str, str, int]]:
    """(problem type, data type, count) of a set, the most frequent first."""
    counts = Counter((sample.problem_type, sample.data_type) for sample in samples)
    return [
        (problem, data, count)
        for (problem, data), count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]

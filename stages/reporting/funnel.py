"""From source records to training sets: counts of each step and reason."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stages.data.annotations import AnnotationRow
from stages.data.sample import Reject, Sample

DROPPED_BY = {"SFT": ("filter sft",), "RL": ("filter rl", "probe")}
"""The stages whose rules drop samples of a set, as the rejects name them."""


@dataclass(frozen=True)
class FunnelStep:
    """This step left `count` of `of` records."""

    name: str
    count: int
    of: int


@dataclass(frozen=True)
class RuleCounts:
    """What became of the samples of one set.

    `rows` holds the name of a rule, then one count for each of `groups`. There is one row for each rule that dropped
    samples, and one for the kept samples.
    """

    groups: list[str]
    rows: list[list[str | int]]


def funnel(
    samples: Sequence[Sample],
    quarantine: Sequence[Reject],
    with_frames: int,
    annotations: Sequence[AnnotationRow],
    sft: int,
    rl: int,
    dropped: Sequence[Reject],
) -> dict[str, list[FunnelStep]]:
    """The steps that all records share, then the steps of each set.

    `dropped` holds the rejects of the rules. Where the probe dropped none, it has no step.
    """
    read = len(samples) + len(quarantine)
    for_sft = sum(sample.split in ("sft", "train") for sample in samples)
    for_rl = sum(sample.split in ("rl", "train") for sample in samples)
    by_probe = sum(reject.stage == "probe" for reject in dropped)
    probe = [FunnelStep("kept by the probe", rl, for_rl)] if by_probe else []
    answered = len({row["sample_id"] for row in annotations if row["status"] == "ok"})
    return {
        "Sources": [
            FunnelStep("records read", read, read),
            FunnelStep("valid, with readable media", len(samples), read),
            FunnelStep("frames extracted", with_frames, read),
        ],
        "SFT": [
            FunnelStep("meant for SFT", for_sft, for_sft),
            FunnelStep("answered by the teacher, well formed", answered, for_sft),
            FunnelStep("kept by the filter, with the thought", sft, for_sft),
        ],
        "RL": [
            FunnelStep("meant for RL", for_rl, for_rl),
            FunnelStep("kept by the filter", rl + by_probe, for_rl),
            *probe,
        ],
    }


def reject_counts(rejects: Sequence[Reject]) -> list[tuple[str, str, int]]:
    """(stage, reason, count), the most frequent first."""
    counts = Counter((reject.stage, reject.reason) for reject in rejects)
    return [(*key, count) for key, count in _most_frequent_first(counts)]


def rule_counts(
    name: str, kept: Sequence[Sample], rejects: Sequence[Reject], samples: Mapping[str, Sample]
) -> RuleCounts:
    """Counts of one set ("SFT" or "RL") by rule.

    There are counts in all, for each source and for each answer type. The rule that dropped the most samples comes
    first.
    """
    dropped = [(reject.reason, samples[reject.sample_id]) for reject in rejects if reject.stage in DROPPED_BY[name]]
    rules = [rule for rule, _ in Counter(rule for rule, _ in dropped).most_common()]
    counts: dict[str, Counter[str]] = {rule: Counter() for rule in [*rules, "kept"]}
    for rule, sample in [*dropped, *(("kept", sample) for sample in kept)]:
        counts[rule].update(["all", sample.source, sample.problem_type])
    every_sample = [*kept, *(sample for _, sample in dropped)]
    sources = sorted({sample.source for sample in every_sample})
    types = sorted({sample.problem_type for sample in every_sample})
    groups = ["all", *sources, *types]
    return RuleCounts(groups, [[rule, *(count[group] for group in groups)] for rule, count in counts.items()])


def source_counts(samples: Sequence[Sample]) -> list[tuple[str, int, str, str, str]]:
    """(source, count, answer type, media type, licence), sorted by source and count."""
    counts = Counter((sample.source, sample.problem_type, sample.data_type, sample.licence) for sample in samples)
    ordered = sorted(counts.items(), key=lambda item: (item[0][0], -item[1], item[0]))
    return [(source, count, problem, data, licence) for (source, problem, data, licence), count in ordered]


def composition(samples: Sequence[Sample]) -> list[tuple[str, str, int]]:
    """(answer type, media type, count) of a set, the most frequent first."""
    counts = Counter((sample.problem_type, sample.data_type) for sample in samples)
    return [(*key, count) for key, count in _most_frequent_first(counts)]


def _most_frequent_first(counts: Counter[tuple[str, str]]) -> list[tuple[tuple[str, str], int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))

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
    samples: Sequence[Sample], quarantine: Sequence[Reject], with_frames: int, annotations: Sequence[Mapping[str, Any]], sft: int, rl: int
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
    return [(stage, reason, count) for (stage, reason), count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]


def sources(samples: Sequence[Sample]) -> list[tuple[str, str, str, str, int]]:
    """(source, licence, problem type, data type, count) of what was taken, by source, the most frequent first."""
    counts = Counter((sample.source, sample.licence, sample.problem_type, sample.data_type) for sample in samples)
    return [(*key, count) for key, count in sorted(counts.items(), key=lambda item: (item[0][0], -item[1], item[0]))]


def composition(samples: Sequence[Sample]) -> list[tuple[str, str, int]]:
    """(problem type, data type, count) of a set, the most frequent first."""
    counts = Counter((sample.problem_type, sample.data_type) for sample in samples)
    return [(problem, data, count) for (problem, data), count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]

"""How many samples each rule of a set dropped and kept."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Literal, TypedDict

from stages.data.sample import Reject, Sample

Grouping = Literal["all", "source", "type"]
GroupCounts = TypedDict("GroupCounts", {"in": int, "dropped": dict[str, int], "kept": int})


class FunnelCounts(GroupCounts):
    """A set's counts, in all and by source and answer type."""

    by_source: dict[str, GroupCounts]
    by_type: dict[str, GroupCounts]


class Funnel:
    """Counts the verdicts on the samples of one set."""

    def __init__(self, rules: Sequence[str]) -> None:
        """`rules`: the names of the set's rules, in their order."""
        self._rules = rules
        self._counts: dict[Grouping, dict[str, Counter[str]]] = {
            "all": defaultdict(Counter),
            "source": defaultdict(Counter),
            "type": defaultdict(Counter),
        }

    def count(self, sample: Sample, verdict: Sample | Reject) -> None:
        """Count one verdict: kept, or dropped by the rule in its reason."""
        outcome = verdict.reason if isinstance(verdict, Reject) else "kept"
        self._counts["all"][""][outcome] += 1
        self._counts["source"][sample.source][outcome] += 1
        self._counts["type"][sample.problem_type][outcome] += 1

    @property
    def sources(self) -> list[str]:
        """The sources that samples came from."""
        return sorted(self._counts["source"])

    @property
    def emptied(self) -> bool:
        """Whether samples went in and none was kept."""
        counts = self._counts["all"][""]
        return counts.total() > 0 and counts["kept"] == 0

    def summary(self) -> FunnelCounts:
        """The counts for the metrics file."""
        return {
            **self._group(self._counts["all"][""]),
            "by_source": self._groups("source"),
            "by_type": self._groups("type"),
        }

    def line(self) -> str:
        """The counts in one line: samples in, dropped by each rule, kept."""
        counts = self._counts["all"][""]
        dropped = [f"{rule} −{counts[rule]}" for rule in self._rules]
        return ", ".join([f"{counts.total()} in", *dropped, f"{counts['kept']} kept"])

    def _groups(self, grouping: Grouping) -> dict[str, GroupCounts]:
        return {name: self._group(counts) for name, counts in sorted(self._counts[grouping].items())}

    def _group(self, counts: Counter[str]) -> GroupCounts:
        return {
            "in": counts.total(),
            "dropped": {rule: counts[rule] for rule in self._rules},
            "kept": counts["kept"],
        }

"""Rules about a question and its clip."""

from collections import Counter
from collections.abc import Mapping, Sequence

from stages.curation.params import RuleParams
from stages.curation.thought_rules import correctness
from stages.data.annotations import AnnotationRow
from stages.data.sample import ProblemType, Sample
from stages.video.clips import ClipRow


def quality(clip: ClipRow | None, params: RuleParams) -> str | None:
    """The clip has none of the flags that `reject_flags` names."""
    if clip is None:
        return None
    found = [flag for flag in params.reject_flags if flag in clip["flags"]]
    if not found:
        return None
    facts = {
        "brightness": clip["brightness"],
        "motion": clip["motion"],
        "seconds": clip["seconds"],
        "keyframes": clip["keyframes"],
    }
    numbers = ", ".join(f"{name} {number:.4g}" for name, number in facts.items() if number is not None)
    return f"{', '.join(found)}: {numbers}"


class Balance:
    """Caps on a source and an answer type; the first samples stay."""

    def __init__(self, max_per_source: Mapping[str, int], max_per_type: Mapping[ProblemType, int]) -> None:
        self._caps: dict[tuple[str, str], int] = {("source", name): cap for name, cap in max_per_source.items()}
        self._caps |= {("type", name): cap for name, cap in max_per_type.items()}
        self._kept: Counter[tuple[str, str]] = Counter()

    def __call__(self, sample: Sample) -> str | None:
        """Which caps are reached, or None; a sample that stays is counted."""
        groups = [("source", sample.source), ("type", sample.problem_type)]
        full = [group for group in groups if group in self._caps and self._kept[group] >= self._caps[group]]
        if full:
            return "; ".join(f"{kind} {name} has its {self._caps[kind, name]}" for kind, name in full)
        self._kept.update(groups)
        return None


def difficulty(sample: Sample, answers: Sequence[AnnotationRow], params: RuleParams) -> str | None:
    """The teacher's answers are neither all right nor all wrong.

    Equal rewards teach RL nothing. The rule judges questions that have at least two answers; a failed request is no
    answer.
    """
    given = [answer for answer in answers if answer["status"] != "failed"]
    if len(given) < 2:
        return None
    rate = sum(correctness(sample, answer, params) is None for answer in given) / len(given)
    low, high = params.pass_rate
    if low < rate < high:
        return None
    return f"{rate:.2f} of {len(given)} answers are right, not between {low:g} and {high:g}"

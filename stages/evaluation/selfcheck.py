"""Recorded outputs with the scores that the official rules give them.

`recorded.json` holds them. Each was written for one rule of a benchmark's own scorer, or of the paper's evaluation
code.
"""

import math
from collections import defaultdict
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from stages.data.sample import ProblemType, Sample
from stages.evaluation.benchmarks import get_benchmark
from stages.evaluation.definition import PROFILES, Profile, extract
from stages.run.errors import UserError
from stages.run.files import read_json

RECORDED = Path(__file__).parent / "recorded.json"


class Recorded(BaseModel):
    """One output and its scores; None where no rule can score it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    benchmark: str
    rule: str
    problem_type: ProblemType
    problem: str = "?"
    options: tuple[str, ...] = ()
    answer: str
    category: str = ""
    output: str
    official: float | None
    video_r1: float | None = Field(alias="video-r1")

    def expected(self, profile: Profile) -> float | None:
        return self.official if profile == "official" else self.video_r1

    def score(self, profile: Profile) -> float | None:
        """The score that this project gives the output."""
        sample = Sample(
            sample_id="recorded",
            source=self.benchmark,
            data_type="video",
            problem_type=self.problem_type,
            problem=self.problem,
            options=self.options,
            answer=self.answer,
            media_path="none",
            media_sha256="",
            category=self.category,
        )
        return get_benchmark(self.benchmark).score(extract(self.output, profile), sample, profile)


def selfcheck_text(path: Path = RECORDED) -> str:
    """How many recorded outputs have the right scores, by benchmark.

    UserError names each output whose score is another one.
    """
    counts: dict[str, int] = defaultdict(int)
    wrong = []
    for recorded in (Recorded.model_validate(entry) for entry in read_json(path)):
        for profile in PROFILES:
            counts[recorded.benchmark] += 1
            expected, found = recorded.expected(profile), recorded.score(profile)
            if not _same(expected, found):
                wrong.append(f"{recorded.benchmark}, {profile}: {recorded.rule}: {found}, and not {expected}")
    if wrong:
        raise UserError(f"the scorers are not the official ones: {'; '.join(wrong)}")
    lines = [f"  {name}: {count} scores equal" for name, count in sorted(counts.items())]
    return "\n".join([f"the scorers give all {sum(counts.values())} recorded scores of the official rules", *lines])


def _same(expected: float | None, found: float | None) -> bool:
    if expected is None or found is None:
        return expected is found
    return math.isclose(expected, found, abs_tol=1e-6)

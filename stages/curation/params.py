"""Which rules of curation run, and their bounds."""

from typing import Literal

from pydantic import Field

from stages.data.sample import Flag, ProblemType
from stages.run.params import Params

ThoughtRule = Literal[
    "answered",
    "not_truncated",
    "well_formed",
    "correctness",
    "length",
    "repetition",
    "language",
    "conclusion",
    "no_leak",
]
SampleRule = Literal["duplicates", "near_duplicates", "quality", "contamination", "balance", "difficulty"]
ContaminationMode = Literal["media and text", "media or text"]


class RuleParams(Params):
    """The rules and their bounds."""

    min_correctness: dict[ProblemType, float] = Field(
        default={},
        description="correctness: the grade (0 to 1) that an answer must exceed, by answer type; "
        "0.6 for a type not named",
    )
    min_tokens: int = Field(
        default=0, ge=0, description="length: fewest tokens of a whole answer, as the teacher's server counts them"
    )
    max_tokens: int = Field(
        default=512, ge=1, description="length: most tokens of a whole answer, as the teacher's server counts them"
    )
    repetition_gram: int = Field(default=4, ge=1, description="repetition: words per n-gram")
    max_repetition: float = Field(
        default=0.3, ge=0, le=1, description="repetition: largest share of a thought's n-grams that occur again"
    )
    max_foreign: float = Field(
        default=0.02,
        ge=0,
        le=1,
        description="language: largest share of a thought's letters in scripts that the question does not use",
    )
    near_duplicate: float = Field(
        default=0.8,
        gt=0,
        le=1,
        description="near_duplicates: Jaccard similarity of two questions' words from which they count as the same",
    )
    reject_flags: tuple[Flag, ...] = Field(
        default=("black", "frozen"), description="quality: the flags of the frames stage that drop a clip"
    )
    contamination: ContaminationMode = Field(
        default="media and text", description="contamination: what a sample must share with a benchmark to be dropped"
    )
    max_per_source: dict[str, int] = Field(
        default={}, description="balance: most samples of a source, by its name; the first ones are kept"
    )
    max_per_type: dict[ProblemType, int] = Field(
        default={}, description="balance: most samples of an answer type; the first ones are kept"
    )
    pass_rate: tuple[float, float] = Field(
        default=(0.0, 1.0),
        description="difficulty: a question stays when its share of correct answers (0 to 1) lies between these two, "
        "both excluded",
    )
    rules: tuple[ThoughtRule | SampleRule, ...] = Field(
        default=("answered", "not_truncated", "well_formed", "correctness", "length", "no_leak"),
        description="the rules that run, in this order; docs/annotation.md describes each",
    )

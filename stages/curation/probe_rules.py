"""Rules about a policy's answers in order, shuffled, and without frames.

The shares are those of right answers, by showing. A question stays where its shares are not known, for example because
every request failed.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

from pydantic import Field, model_validator

from stages.data.order import Order
from stages.data.probed import ProbedRow
from stages.data.sample import Reject, Sample
from stages.run.params import Params

ProbeRule = Literal["needs_video", "needs_order", "learnable"]

NEEDED: Mapping[ProbeRule, Sequence[Order]] = {
    "needs_video": ("blind",),
    "needs_order": ("ordered", "shuffled"),
    "learnable": ("ordered",),
}
"""The showings that a rule looks at."""


class ProbeRuleParams(Params):
    """The rules and their bounds."""

    rules: tuple[ProbeRule, ...] = Field(
        default=(), description="the rules that drop RL questions, in this order; docs/annotation.md describes each"
    )
    right_above: float = Field(
        default=0.5, ge=0, lt=1, description="an answer is right when its grade (0 to 1) is above this"
    )
    max_blind: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="needs_video: a question stays when its share of right answers without frames is below this",
    )
    min_gain: float = Field(
        default=0.0,
        ge=-1,
        lt=1,
        description="needs_order: a question about a video stays when its share of right answers in order, less that "
        "on shuffled frames, is above this",
    )

    @model_validator(mode="after")
    def _each_once(self) -> "ProbeRuleParams":
        if len(set(self.rules)) != len(self.rules):
            raise ValueError("rules must name each rule once")
        return self


class Share(NamedTuple):
    """How many of the answers to one showing are right."""

    right: int
    of: int

    @property
    def value(self) -> float:
        return self.right / self.of

    def __str__(self) -> str:
        return f"{self.right} of {self.of}"


Shares = Mapping[Order, Share]


def shares_of(rows: Sequence[ProbedRow], right_above: float) -> Shares:
    """The shares of one question, by showing; failed requests are no answers."""
    right: dict[Order, list[bool]] = defaultdict(list)
    for row in rows:
        if row["grade"] is not None:
            right[row["order"]].append(row["grade"] > right_above)
    return {order: Share(sum(found), len(found)) for order, found in right.items()}


def needs_video(sample: Sample, shares: Shares, params: ProbeRuleParams) -> str | None:
    """Few answers without frames are right."""
    blind = shares.get("blind")
    if blind is None or blind.value < params.max_blind:
        return None
    return f"{blind} answers without frames are right, not below {params.max_blind:g}"


def needs_order(sample: Sample, shares: Shares, params: ProbeRuleParams) -> str | None:
    """More answers in order are right than on shuffled frames.

    The frames of an image have no order, so the rule keeps images.
    """
    ordered, shuffled = shares.get("ordered"), shares.get("shuffled")
    if sample.data_type == "image" or ordered is None or shuffled is None:
        return None
    if ordered.value - shuffled.value > params.min_gain:
        return None
    return f"{ordered} answers in order and {shuffled} shuffled are right, not more than {params.min_gain:g} apart"


def learnable(sample: Sample, shares: Shares, params: ProbeRuleParams) -> str | None:
    """The answers in order are neither all right nor all wrong.

    Equal rewards teach RL nothing. The rule judges questions that have at least two answers.
    """
    ordered = shares.get("ordered")
    if ordered is None or ordered.of < 2 or 0 < ordered.right < ordered.of:
        return None
    return f"{ordered} answers in order are right"


PROBE_RULES: Mapping[ProbeRule, Callable[[Sample, Shares, ProbeRuleParams], str | None]] = {
    "needs_video": needs_video,
    "needs_order": needs_order,
    "learnable": learnable,
}


def judge(sample: Sample, shares: Shares, params: ProbeRuleParams) -> Sample | Reject:
    """The sample, or its reject by the first rule that drops it."""
    for rule in params.rules:
        if (detail := PROBE_RULES[rule](sample, shares, params)) is not None:
            return Reject(sample_id=sample.sample_id, stage="probe", reason=rule, detail=detail)
    return sample

"""What a judge said, and how often it agrees with the rules."""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple, TypedDict, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stages.evaluation.statistics import wilson
from stages.run.schemas import arrow_type

VerdictName = Literal["correct", "incorrect", "unreadable", "refused", "failed"]
"""unreadable: a reply without a verdict. refused: the server refused. failed: no reply; the next run asks again."""
VERDICTS: tuple[VerdictName, ...] = get_args(VerdictName)

_KEY: Final = b"judge"  # of the metadata of a predictions table


class Verdict(NamedTuple):
    """A judge's verdict on one answer, and its reason.

    For a verdict that cannot be used, `reason` says why.
    """

    name: VerdictName
    reason: str

    @property
    def score(self) -> float | None:
        """1 when correct, 0 when incorrect, None without a usable verdict."""
        return {"correct": 1.0, "incorrect": 0.0}.get(self.name)


class Judgement(TypedDict):
    """What a judge has to do with one prediction.

    `decides` says whether the official score is the judge's; otherwise the judge was asked as a check. `by_rules` is
    the official score of the rules alone, None where rules cannot score the answer. `verdict` is None for an output
    without an answer, which scores 0 and is not sent to the judge.
    """

    verdict: VerdictName | None
    reason: str
    decides: bool
    by_rules: float | None


JUDGEMENT = pa.field("judgement", arrow_type(Judgement))
"""The column of judgements in a predictions table; null where no judge is involved."""


class Agreement(TypedDict):
    """How often judge and rules agree on `n` answers that both score.

    `value` is the share, with its 95 % interval; `kappa` is Cohen's, None where one side always says the same.
    `only_judge` counts the answers that the judge alone calls right, `only_rules` those that the rules alone do. A
    score of the rules counts as right from 0.5.
    """

    n: int
    value: float
    low: float
    high: float
    kappa: float | None
    both_right: int
    both_wrong: int
    only_judge: int
    only_rules: int


class JudgeRecord(TypedDict):
    """A judge in one evaluation.

    `name` is its model, address and prompt in words. `decided` counts the verdicts that are official scores, and
    `without_answer` the outputs that score 0 unasked. `checks` is the agreement on answers that the rules decide,
    `replaced` that on answers whose score by the rules gave way to the judge's; None without any. Tokens and cost are
    those of its replies, asked now or before.
    """

    name: str
    model: str
    base_url: str
    prompt: str
    decided: dict[VerdictName, int]
    without_answer: int
    checks: Agreement | None
    replaced: Agreement | None
    prompt_tokens: int
    completion_tokens: int
    cost: float


def decided(judgements: Sequence[Judgement]) -> dict[VerdictName, int]:
    """How many verdicts of each kind are official scores."""
    counts = Counter(each["verdict"] for each in judgements if each["decides"])
    return {name: counts[name] for name in VERDICTS}


def agreement(judgements: Sequence[Judgement]) -> Agreement | None:
    """Judge against rules on the answers that both score; None without any."""
    pairs = [
        (each["verdict"] == "correct", each["by_rules"] >= 0.5)
        for each in judgements
        if each["verdict"] in ("correct", "incorrect") and each["by_rules"] is not None
    ]
    if not pairs:
        return None
    n, counts = len(pairs), Counter(pairs)
    found = wilson(np.array([judge == rules for judge, rules in pairs], dtype=np.float64), np.full(n, 1 / n))
    return {
        "n": n,
        "value": found.value,
        "low": found.low,
        "high": found.high,
        "kappa": _kappa(counts, n),
        "both_right": counts[True, True],
        "both_wrong": counts[False, False],
        "only_judge": counts[True, False],
        "only_rules": counts[False, True],
    }


def with_judge(schema: pa.Schema, record: JudgeRecord | None) -> pa.Schema:
    """The schema of a predictions table, with the judge's column if any."""
    if record is None:
        return schema
    metadata = {**(schema.metadata or {}), _KEY: json.dumps(record, ensure_ascii=False)}
    return schema.append(JUDGEMENT).with_metadata(metadata)


def read_judge(predictions: Path) -> JudgeRecord | None:
    """The judge of a predictions table, None without one."""
    metadata: Mapping[bytes, bytes] = pq.read_schema(predictions).metadata or {}
    return json.loads(metadata[_KEY]) if _KEY in metadata else None


def judged_by(record: JudgeRecord | None) -> dict[str, str]:
    """The judge, if scores are by it, for an evaluation's conditions."""
    return {"judge": record["name"]} if record and sum(record["decided"].values()) else {}


def judge_text(record: JudgeRecord) -> str:
    """One line: the judge, its verdicts, its agreement with the rules."""
    counts = ", ".join(f"{count:,} {name}" for name, count in record["decided"].items() if count)
    unasked = f", {record['without_answer']:,} without an answer count 0" if record["without_answer"] else ""
    parts = [f"official scores by it: {counts}{unasked}" if counts or unasked else "no official score is by it"]
    if checks := record["checks"]:
        parts.append(f"it agrees with the rules on {_share(checks)} answers that the rules decide")
    if replaced := record["replaced"]:
        parts.append(f"on {_share(replaced)} whose score by the rules it replaces")
    return f"judge {record['name']}: {'; '.join(parts)}"


def _share(found: Agreement) -> str:
    kappa = "" if found["kappa"] is None else f", kappa {found['kappa']:.2f},"
    return f"{found['value']:.1%} [{found['low']:.1%}, {found['high']:.1%}]{kappa} of {found['n']:,}"


def _kappa(counts: Counter[tuple[bool, bool]], n: int) -> float | None:
    """Cohen's kappa: agreement beyond that of independent marginals."""
    judge, rules = (counts[True, True] + counts[True, False]) / n, (counts[True, True] + counts[False, True]) / n
    expected = judge * rules + (1 - judge) * (1 - rules)
    observed = (counts[True, True] + counts[False, False]) / n
    return None if math.isclose(expected, 1) else (observed - expected) / (1 - expected)

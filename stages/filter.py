"""Annotated samples → the SFT set and the RL set, and a reason for every sample that is in neither.

The rules run in the order of params.yaml. For the SFT set they look at the teacher's answers, at the question and at its media; a sample
stays while at least one of its answers does, and the first that is left becomes its chain of thought. The RL set needs no thoughts, so
only rules about question and media, and difficulty, apply to it.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import pyarrow.parquet as pq
from pydantic import Field

from stages.data import rules
from stages.data.command import command
from stages.data.errors import UserError
from stages.data.files import write_json
from stages.data.records import write_records
from stages.data.rules import Answer, RuleParams
from stages.data.sample import Reject, Sample, read_samples, write_rejects, write_samples

log = logging.getLogger(__name__)

ThoughtRule = Literal[
    "answered", "not_truncated", "well_formed", "correctness", "length", "repetition", "language", "conclusion", "no_leak"
]
SampleRule = Literal["duplicates", "near_duplicates", "quality", "contamination", "balance", "difficulty"]
Set = Literal["sft", "rl"]

THOUGHT_RULES: dict[str, Callable[[Sample, Answer, RuleParams], str | None]] = {
    name: getattr(rules, name) for name in get_args(ThoughtRule)
}


class FilterParams(RuleParams):
    rules: tuple[ThoughtRule | SampleRule, ...] = Field(
        default=("answered", "not_truncated", "well_formed", "correctness", "length", "no_leak"),
        description="applied in this order; each is described in stages/data/rules.py",
    )
    benchmarks: tuple[str, ...] = Field(default=(), description="samples.parquet files that the training sets must not share with")


def run(
    params: FilterParams,
    samples: Path,
    annotations: Path,
    sft: Path,
    rl: Path,
    rejects: Path,
    metrics: Path,
    table: Path | None = None,
    clips: Path | None = None,
    json: Path | None = None,
    media: Path | None = None,
) -> None:
    """Write both sets, the rejects with rule and detail, and the funnel.

    With `table`, the frame store's table, samples without frames are dropped too; `clips` is what the frames stage knows of the
    clips, for near_duplicates and quality. With `json` the SFT set is also written in Video-R1's
    own format, with paths relative to `media`.
    """
    everything = [sample for sample in read_samples(samples) if sample.split != "test"]
    with_frames = set(pq.read_table(table)["sample_id"].to_pylist()) if table else None
    marks = _marks(clips)
    if "quality" in params.rules and not marks:
        raise UserError("the rule quality needs what the frames stage knows of the clips: pass --clips")
    kept: dict[Set, list[Sample]] = {}
    dropped: list[Reject] = []
    funnels: dict[Set, Funnel] = {}
    for name in get_args(Set):
        funnels[name] = Funnel(_rule_names(params, name))
        judge = Judge(params, name, with_frames, marks)
        kept[name] = []
        for sample, answers in zip(everything, _answers(annotations, everything), strict=True):
            if sample.split not in (name, "train"):
                continue
            verdict = judge(sample, answers)
            funnels[name].count(sample, verdict)
            if isinstance(verdict, Reject):
                dropped.append(verdict)
            else:
                kept[name].append(verdict)
    write_rejects(rejects, dropped)
    write_json(metrics, {name: funnel.summary() for name, funnel in funnels.items()})
    for name, funnel in funnels.items():
        log.info("%s: %s", name, funnel.line())
        if funnel.emptied:
            raise UserError(
                f"no samples left for {name} ({funnel.line()}); the reasons are in {rejects}; loosen filter.rules or their bounds"
            )
    write_samples(sft, kept["sft"])
    write_samples(rl, kept["rl"])
    if json:
        write_records(json, kept["sft"], media or Path())


class Judge:
    """Applies the rules of one set to its samples, one after the other; duplicates and caps remember what came before."""

    def __init__(self, params: FilterParams, name: Set, with_frames: set[str] | None, marks: Mapping[str, rules.Marks]) -> None:
        benchmarks = {path: read_samples(Path(path)) for path in params.benchmarks}
        seen: dict[str, Callable[[Sample], str | None]] = {
            "frames": lambda sample: None if with_frames is None or sample.sample_id in with_frames else "refused by the frames stage",
            "duplicates": rules.Duplicates(),
            "near_duplicates": rules.NearDuplicates(params.near_duplicate, marks),
            "quality": lambda sample: rules.quality(marks.get(sample.sample_id), params),
            "contamination": rules.Contamination(benchmarks, params.contamination),
            "balance": rules.Balance(params.max_per_source, params.max_per_type),
        }
        self._params = params
        self._name: Set = name
        self._sample_rules = seen

    def __call__(self, sample: Sample, answers: Sequence[Answer]) -> Sample | Reject:
        """The sample, with its chain of thought in the SFT set, or the first rule that drops it."""
        left = list(answers) or [Answer("failed", "no answer", "", 0)]
        for rule in _rule_names(self._params, self._name):
            if rule in THOUGHT_RULES:
                details = [THOUGHT_RULES[rule](sample, answer, self._params) for answer in left]
                left = [answer for answer, detail in zip(left, details, strict=True) if detail is None]
                detail = None if left else details[0]
            elif rule == "difficulty":
                detail = rules.difficulty(sample, answers, self._params)
            else:
                detail = self._sample_rules[rule](sample)
            if detail is not None:
                return Reject(sample_id=sample.sample_id, stage=f"filter {self._name}", reason=rule, detail=detail)
        if self._name == "rl":
            return sample
        return sample.model_copy(update={"process": f"<think>{rules.thought_of(left[0].text)}</think>"})


class Funnel:
    """How many samples each rule kept and dropped, in all and by source and answer type."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._counts: dict[str, dict[str, Counter[str]]] = {
            "all": defaultdict(Counter),
            "source": defaultdict(Counter),
            "type": defaultdict(Counter),
        }

    def count(self, sample: Sample, verdict: Sample | Reject) -> None:
        outcome = verdict.reason if isinstance(verdict, Reject) else "kept"
        for kind, name in (("all", ""), ("source", sample.source), ("type", sample.problem_type)):
            self._counts[kind][name][outcome] += 1

    @property
    def emptied(self) -> bool:
        """Whether samples went in and none came out."""
        counts = self._counts["all"][""]
        return counts.total() > 0 and counts["kept"] == 0

    def summary(self) -> dict[str, Any]:
        groups = {kind: {name: self._group(counts) for name, counts in sorted(self._counts[kind].items())} for kind in ("source", "type")}
        return {**self._group(self._counts["all"][""]), "by_source": groups["source"], "by_type": groups["type"]}

    def line(self) -> str:
        """The funnel in one line: samples in, after each rule, and kept."""
        counts = self._counts["all"][""]
        return ", ".join([f"{counts.total()} in", *(f"{rule} −{counts[rule]}" for rule in self._names), f"{counts['kept']} kept"])

    def _group(self, counts: Mapping[str, int]) -> dict[str, Any]:
        return {"in": sum(counts.values()), "dropped": {rule: counts.get(rule, 0) for rule in self._names}, "kept": counts.get("kept", 0)}


def _rule_names(params: FilterParams, name: Set) -> list[str]:
    """The rules of a set in order: frames first, the thought's own only for SFT, difficulty only for RL."""
    chosen = [rule for rule in params.rules if (rule not in THOUGHT_RULES if name == "rl" else rule != "difficulty")]
    return ["frames", *chosen]


def _marks(clips: Path | None) -> dict[str, rules.Marks]:
    columns = ["sample_id", *rules.Marks._fields]
    rows = pq.read_table(clips, columns=columns).to_pylist() if clips else []
    return {row.pop("sample_id"): rules.Marks(**row) for row in rows}


def _answers(annotations: Path, samples: Sequence[Sample]) -> Iterator[list[Answer]]:
    """Each sample's answers. Annotations stand in the order of the samples, so both are walked once, side by side."""
    columns = ["sample_id", *Answer._fields]
    rows = (row for batch in pq.ParquetFile(annotations).iter_batches(columns=columns) for row in batch.to_pylist())
    row = next(rows, None)
    for sample in samples:
        answers = []
        while row is not None and row["sample_id"] == sample.sample_id:
            answers.append(Answer(*(row[name] for name in Answer._fields)))
            row = next(rows, None)
        yield answers
    if row is not None:
        raise UserError(f"{annotations} has answers for {row['sample_id']}, which does not follow in the samples; run annotate again")


if __name__ == "__main__":
    command(run)

"""Annotated samples → the SFT set and the RL set, and a reason for every sample that is in neither.

The rules run in the order of params.yaml. For the SFT set they look at the teacher's answers, at the question and at its media; a sample
stays while at least one of its answers does, and the first that is left becomes its chain of thought. The RL set needs no thoughts, so
only rules about question and media, and difficulty, apply to it. One pass over the rows: memory does not grow with their number.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from pydantic import Field

from stages.curation import rules
from stages.curation.benchmark_overlap import FrameMatcher
from stages.curation.dataset import push_to_hub, write_dataset
from stages.curation.rules import Answer, Marks, RuleParams
from stages.data.records import write_records
from stages.data.sample import REJECT_SCHEMA, TRAINING_SCHEMA, Reject, Sample, iterate_samples
from stages.run.command import command
from stages.run.errors import UserError
from stages.run.files import iterate_rows, table_writer, write_json

log = logging.getLogger(__name__)

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
Set = Literal["sft", "rl"]

THOUGHT_RULES: dict[str, Callable[[Sample, Answer, RuleParams], str | None]] = {
    name: getattr(rules, name) for name in get_args(ThoughtRule)
}


class FilterParams(RuleParams):
    rules: tuple[ThoughtRule | SampleRule, ...] = Field(
        default=("answered", "not_truncated", "well_formed", "correctness", "length", "no_leak"),
        description="applied in this order; each is described in stages/curation/rules.py",
    )
    held_out: str = Field(
        default="data/samples.parquet",
        description="for the rule contamination: a benchmark's folder, a folder of several, or a table of which the split test is held out",
    )


def run(
    params: FilterParams,
    samples: Path,
    annotations: Path,
    sft: Path,
    rl: Path,
    rejects: Path,
    metrics: Path,
    frame_keys: Path | None = None,
    clips: Path | None = None,
    frame_store: Path | None = None,
    json: Path | None = None,
    media: Path | None = None,
    dataset: Path | None = None,
    push: str = "",
) -> None:
    """Write both sets, the rejects with rule and detail, and the funnel.

    With `frame_keys`, samples without frames are dropped too; `clips` is what the frames stage knows of the
    clips, for near_duplicates and quality; `frame_store` is the store whose frames contamination compares with the benchmarks'.
    With `json` the SFT set is also written in Video-R1's own format, with paths relative to `media`; with `dataset` both sets also as
    a folder for `datasets.load_dataset`, with a card; with `push` that folder is uploaded as the private dataset of this name on the
    Hugging Face hub.
    """
    if push and not dataset:
        raise UserError("--push uploads what --dataset writes; give both")
    if "quality" in params.rules and not clips:
        raise UserError("the rule quality needs what the frames stage knows of the clips: pass --clips")
    questions, folders = _held_out(Path(params.held_out)) if "contamination" in params.rules else ({}, [])
    contamination = rules.Contamination(questions, params.contamination)
    matcher = FrameMatcher(frame_store, folders) if frame_store and folders else None
    judges: dict[Set, Judge] = {name: Judge(params, name, contamination, matcher) for name in get_args(Set)}
    with table_writer(sft, TRAINING_SCHEMA) as to_sft, table_writer(rl, TRAINING_SCHEMA) as to_rl:
        kept: dict[Set, Callable[[Mapping[str, Any]], None]] = {"sft": to_sft, "rl": to_rl}
        with table_writer(rejects, REJECT_SCHEMA) as drop:
            for candidate in _candidates(samples, annotations, frame_keys, clips):
                for name, judge in judges.items():
                    if candidate.sample.split in (name, "train"):
                        verdict = judge(candidate)
                        if isinstance(verdict, Reject):
                            drop(verdict.model_dump())
                        else:
                            kept[name](verdict.model_dump() | {"frame_key": candidate.frame_key})
        write_json(metrics, {name: judge.funnel.summary() for name, judge in judges.items()})
        _check_names(params, {source for judge in judges.values() for source in judge.funnel.sources})
        if "difficulty" in params.rules and not judges["rl"].asked_twice:
            log.warning(
                "difficulty dropped nothing: no question of the RL set was asked twice; set annotate.n to 2 and the source's split to train"
            )
        for name, judge in judges.items():
            log.info("%s: %s", name, judge.funnel.line())
            if judge.funnel.emptied:
                raise UserError(
                    f"no samples left for {name} ({judge.funnel.line()}); the reasons are in {rejects}; loosen filter.rules or their bounds"
                )
    if json:
        write_records(json, iterate_samples(sft), media or Path())
    if dataset:
        write_dataset(dataset, {"sft": sft, "rl": rl}, [samples, annotations], params)
        if push:
            push_to_hub(dataset, push)


def _held_out(place: Path) -> tuple[dict[str, Iterator[Sample]], list[Path]]:
    """The questions that the training sets must not share with, by name, and the benchmarks' folders, whose frames are compared too."""
    if place.is_file():
        return {place.name: (sample for sample in iterate_samples(place) if sample.split == "test")}, []
    folders = [table.parent for table in sorted([*place.glob("samples.parquet"), *place.glob("*/samples.parquet")])]
    if not folders:
        raise UserError(
            f"filter.held_out: no benchmark in {place}; run the benchmark stage, or name another folder or table"
        )
    return {folder.name: iterate_samples(folder / "samples.parquet") for folder in folders}, folders


def _check_names(params: FilterParams, sources: set[str]) -> None:
    """UserError for a cap on a source that no sample has."""
    if unknown := sorted(set(params.max_per_source) - sources):
        raise UserError(
            f"filter.max_per_source names '{unknown[0]}', which no sample comes from; sources: {', '.join(sorted(sources))}"
        )


class Candidate(NamedTuple):
    """A sample with what the stages before it know.

    frame_key: its clip in the frame store; None when there are no frames, "" when nobody says where they are. marks: of its clip.
    """

    sample: Sample
    answers: list[Answer]
    frame_key: str | None
    marks: Marks | None


class Judge:
    """Applies the rules of one set to its samples, one after the other; duplicates and caps remember what came before."""

    def __init__(
        self, params: FilterParams, name: Set, contamination: rules.Contamination, matcher: FrameMatcher | None
    ) -> None:
        self._params = params
        self._name: Set = name
        self._rules = _rule_names(params, name)
        duplicates, near_duplicates = rules.Duplicates(), rules.NearDuplicates(params.near_duplicate)
        balance = rules.Balance(params.max_per_source, params.max_per_type)
        self._sample_rules: dict[str, Callable[[Candidate], str | None]] = {
            "frames": lambda of: None if of.frame_key is not None else "refused by the frames stage",
            "duplicates": lambda of: duplicates(of.sample),
            "near_duplicates": lambda of: near_duplicates(of.sample, of.marks),
            "quality": lambda of: rules.quality(of.marks, params),
            "contamination": lambda of: contamination(
                of.sample, lambda: matcher(of.frame_key) if matcher and of.frame_key else None
            ),
            "balance": lambda of: balance(of.sample),
            "difficulty": lambda of: rules.difficulty(of.sample, of.answers, params),
        }
        self.funnel = Funnel(self._rules)
        self.asked_twice = False

    def __call__(self, candidate: Candidate) -> Sample | Reject:
        """The sample, with its chain of thought in the SFT set, or the first rule that drops it; counted in the funnel."""
        verdict = self._verdict(candidate)
        self.asked_twice |= len(candidate.answers) > 1
        self.funnel.count(candidate.sample, verdict)
        return verdict

    def _verdict(self, candidate: Candidate) -> Sample | Reject:
        sample, left = candidate.sample, candidate.answers or [Answer("failed", "no answer", "", 0)]
        for rule in self._rules:
            if rule in THOUGHT_RULES:
                details = [THOUGHT_RULES[rule](sample, answer, self._params) for answer in left]
                left = [answer for answer, detail in zip(left, details, strict=True) if detail is None]
                detail = None if left else details[0]
            else:
                detail = self._sample_rules[rule](candidate)
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
    def sources(self) -> list[str]:
        return sorted(self._counts["source"])

    @property
    def emptied(self) -> bool:
        """Whether samples went in and none came out."""
        counts = self._counts["all"][""]
        return counts.total() > 0 and counts["kept"] == 0

    def summary(self) -> dict[str, Any]:
        groups = {
            kind: {name: self._group(counts) for name, counts in sorted(self._counts[kind].items())}
            for kind in ("source", "type")
        }
        return {**self._group(self._counts["all"][""]), "by_source": groups["source"], "by_type": groups["type"]}

    def line(self) -> str:
        """The funnel in one line: samples in, after each rule, and kept."""
        counts = self._counts["all"][""]
        return ", ".join(
            [f"{counts.total()} in", *(f"{rule} −{counts[rule]}" for rule in self._names), f"{counts['kept']} kept"]
        )

    def _group(self, counts: Mapping[str, int]) -> dict[str, Any]:
        return {
            "in": sum(counts.values()),
            "dropped": {rule: counts.get(rule, 0) for rule in self._names},
            "kept": counts.get("kept", 0),
        }


def _rule_names(params: FilterParams, name: Set) -> list[str]:
    """The rules of a set in order: frames first, the thought's own only for SFT, difficulty only for RL."""
    chosen = [rule for rule in params.rules if (rule not in THOUGHT_RULES if name == "rl" else rule != "difficulty")]
    return ["frames", *chosen]


def _candidates(samples: Path, annotations: Path, frame_keys: Path | None, clips: Path | None) -> Iterator[Candidate]:
    """The samples in order. All tables are walked once, side by side; without a frame table every sample counts as having frames."""
    answers = Follower(annotations, ["sample_id", *Answer._fields])
    frames = Follower(frame_keys, ["sample_id", "frame_key"])
    marks = Follower(clips, ["sample_id", *Marks._fields])
    for sample in iterate_samples(samples):
        yield Candidate(
            sample,
            [Answer(*(row[name] for name in Answer._fields)) for row in answers.of(sample.sample_id)],
            next((row["frame_key"] for row in frames.of(sample.sample_id)), None if frame_keys else ""),
            next((Marks(*(row[name] for name in Marks._fields)) for row in marks.of(sample.sample_id)), None),
        )
    for follower in (answers, frames, marks):
        follower.finish()


class Follower:
    """Reads a table whose rows stand in the order of the samples, in step with them; no path is an empty table."""

    def __init__(self, path: Path | None, columns: Sequence[str]) -> None:
        self._path = path
        self._rows = iterate_rows(path, columns) if path else iter(())
        self._next = next(self._rows, None)

    def of(self, sample_id: str) -> list[dict[str, Any]]:
        """The sample's rows; call it for each sample in order."""
        rows = []
        while self._next is not None and self._next["sample_id"] == sample_id:
            rows.append(self._next)
            self._next = next(self._rows, None)
        return rows

    def finish(self) -> None:
        """UserError when rows are left, which belong to no sample or stand in another order."""
        if self._next is not None:
            sample_id = self._next["sample_id"]
            raise UserError(
                f"{self._path} has rows for {sample_id}, which does not follow in the samples; run its stage again"
            )


if __name__ == "__main__":
    command(run)

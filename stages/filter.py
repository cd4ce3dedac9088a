"""Annotated samples → the SFT set, the RL set, and the rejects.

Each reject has the rule that dropped it and a detail.

The rules run in the order of params.yaml. For the SFT set they look at the teacher's answers, at the question and at
its clip. A sample stays while at least one of its answers passes, and the first such answer becomes its chain of
thought. The RL set needs no thoughts: only `difficulty` and the rules about question and clip apply to it. The samples
are read once, so that memory does not grow with their number.
"""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import get_args

from pydantic import Field

from stages.curation.benchmark_overlap import BenchmarkOverlap
from stages.curation.candidates import Candidate, read_candidates
from stages.curation.contamination import Contamination, read_held_out
from stages.curation.dataset import push_to_hub, write_dataset
from stages.curation.judge import Judge, TrainingSet
from stages.curation.params import RuleParams
from stages.data.matrix import check_leftovers, load_matrix
from stages.data.records import write_records
from stages.data.sample import REJECT_SCHEMA, TRAINING_SCHEMA, Reject, iterate_samples
from stages.run.command import command
from stages.run.errors import UserError
from stages.run.files import table_writer, write_json

log = logging.getLogger(__name__)

Write = Callable[[Mapping[str, object]], None]


class FilterParams(RuleParams):
    held_out: str = Field(
        default="data/samples.parquet",
        description="contamination: path of a benchmark's folder, of a folder of several, "
        "or of a table of which the split test is held out",
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
    settings: Path | None = None,
) -> None:
    """Write both sets, the rejects with rule and detail, and the counts.

    With `frame_keys`, samples without frames are dropped too. `clips` holds the facts of the clips that
    near_duplicates and quality need, `frame_store` the frames that contamination compares with those of the
    benchmarks. `json` is a file for the SFT set in Video-R1's own format, with paths relative to `media`. `dataset` is
    a folder for both sets, with a card, which `datasets.load_dataset` reads; `push` uploads the folder as the private
    dataset of this name on the Hugging Face hub. With `settings`, which is params.yaml, a folder of several held-out
    benchmarks has to hold exactly those of the section report.
    """
    if push and not dataset:
        raise UserError("--push uploads what --dataset writes; give both")
    if "quality" in params.rules and not clips:
        raise UserError("the rule quality needs the facts of the clips; pass the frames stage's table with --clips")
    judges = _judges(params, frame_store, settings)
    candidates = read_candidates(samples, annotations, frame_keys, clips)
    with table_writer(sft, TRAINING_SCHEMA) as to_sft, table_writer(rl, TRAINING_SCHEMA) as to_rl:
        with table_writer(rejects, REJECT_SCHEMA) as to_rejects:
            for candidate in candidates:
                _judge(candidate, judges, {"sft": to_sft, "rl": to_rl}, to_rejects)
        write_json(metrics, {name: judge.funnel.summary() for name, judge in judges.items()})
        _check(params, judges, rejects)  # sets that fail the check are not written, the rejects and counts are
    if json:
        write_records(json, iterate_samples(sft), media or Path())
        log.info("the SFT set in Video-R1's format → %s", json)
    if dataset:
        write_dataset(dataset, {"sft": sft, "rl": rl}, [samples, annotations], params)
        log.info("both sets with a card → %s", dataset)
        if push:
            push_to_hub(dataset, push)


def _judges(params: FilterParams, frame_store: Path | None, settings: Path | None) -> dict[TrainingSet, Judge]:
    held_out = Path(params.held_out)
    if settings and held_out.is_dir() and not (held_out / "samples.parquet").is_file():
        check_leftovers(held_out, load_matrix(settings).benchmark_folders)
    questions, folders = read_held_out(held_out) if "contamination" in params.rules else ({}, [])
    contamination = Contamination(questions, params.contamination)
    overlap = BenchmarkOverlap(frame_store, folders) if frame_store and folders else None
    return {name: Judge(params, name, contamination, overlap) for name in get_args(TrainingSet)}


def _judge(
    candidate: Candidate, judges: Mapping[TrainingSet, Judge], to_sets: Mapping[TrainingSet, Write], to_rejects: Write
) -> None:
    """Write a candidate to its sets or to the rejects."""
    for name, judge in judges.items():
        if candidate.sample.split not in (name, "train"):
            continue
        verdict = judge(candidate)
        if isinstance(verdict, Reject):
            to_rejects(verdict.model_dump())
        else:
            to_sets[name](verdict.model_dump() | {"frame_key": candidate.frame_key})


def _check(params: FilterParams, judges: Mapping[TrainingSet, Judge], rejects: Path) -> None:
    """Log the counts and raise UserError where they need attention.

    That is a cap on a source without samples, or a set that lost all its samples.
    """
    sources = {source for judge in judges.values() for source in judge.funnel.sources}
    if unknown := sorted(set(params.max_per_source) - sources):
        raise UserError(
            f"filter.max_per_source names '{unknown[0]}', but no sample comes from it; "
            f"sources: {', '.join(sorted(sources))}"
        )
    if "difficulty" in params.rules and not judges["rl"].asked_twice:
        log.warning(
            "difficulty dropped nothing: no question of the RL set was asked twice; "
            "set annotate.n to 2 and the source's split to train"
        )
    for name, judge in judges.items():
        log.info("%s: %s", name, judge.funnel.line())
        if judge.funnel.emptied:
            raise UserError(
                f"no samples left for {name} ({judge.funnel.line()}); the reasons are in {rejects}; "
                "loosen filter.rules or their bounds"
            )


if __name__ == "__main__":
    command(run)

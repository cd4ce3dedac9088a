"""Where each evaluation comes from: the artifacts, parameters and code behind it.

All of it is read from dvc.lock.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

from pydantic import JsonValue

from flows.experiment import git
from flows.graph import CODE, Snapshot, Stage, with_upstream

EVALUATION = "evaluate"  # the stage in dvc.yaml whose metrics are the results


class LineageRow(TypedDict):
    """A row of the table *lineage*: one metrics file of an evaluation.

    outdated: the stages of its chain that would run again, so that the numbers belong to their old inputs, parameters
    or code; parameters: the sections that made it, each with the first digits of its hash; data: path and hash of each
    artifact up to the sources.
    """

    numbers: str
    outdated: str
    commit: str
    data: str
    parameters: str


class ParameterRow(TypedDict):
    """A row of the table *parameters*: the values behind a hash."""

    section: str
    hash: str
    values: str


def lineage_rows(now: Snapshot, commit: Mapping[str, str]) -> list[LineageRow]:
    """One row per metrics file of the evaluations that have run.

    `commit` gives the commit of each evaluation by its stage's name.
    """
    rows: list[LineageRow] = []
    for stage in now.stages:
        if stage.group == EVALUATION and stage.outs and all(stage.outs.values()):
            chain = ancestry(now.stages, stage)
            sections = {name: values for one in chain for name, values in one.params.items()}
            for metrics in stage.metrics:
                row: LineageRow = {
                    "numbers": metrics,
                    "outdated": ", ".join(one.name for one in chain if one.name in now.changed),
                    "commit": commit[stage.name],
                    "data": ", ".join(f"{path} {value[:8]}" for path, value in artifacts_of(chain).items()),
                    "parameters": ", ".join(f"{name} {digest(values)}" for name, values in sections.items()),
                }
                rows.append(row)
    return rows


def parameter_rows(stages: Sequence[Stage]) -> list[ParameterRow]:
    """The values behind the hashes in the column *parameters* of *lineage*."""
    sections = {name: values for stage in stages for name, values in stage.params.items()}
    return [
        {"section": name, "hash": digest(values), "values": json.dumps(values)} for name, values in sections.items()
    ]


def ancestry(stages: Sequence[Stage], last: Stage) -> list[Stage]:
    """A stage and all that it rests on, upstream first."""
    needed = with_upstream(stages, {last.name})
    return [stage for stage in stages if stage.name in needed]


def artifacts_of(chain: Sequence[Stage]) -> dict[str, str]:
    """Path → hash of all data that the chain's stages read."""
    outputs = {path for stage in chain for path in stage.outs}
    read = [item for stage in chain for item in stage.deps.items()]
    return {
        path: value for path, value in read if path in outputs or (value.endswith(".dir") and not path.startswith(CODE))
    }


def code_of(chain: Sequence[Stage]) -> list[str]:
    """The files and folders of the checkout that the chain's stages run."""
    read = {path for stage in chain for path in stage.deps}
    return sorted(path for path in read - set(artifacts_of(chain)) if not Path(path).is_absolute())


def digest(values: JsonValue) -> str:
    """The first digits of a section's hash, the same for equal values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]


def commits(root: Path, stages: Sequence[Stage]) -> dict[str, str]:
    """For each evaluation its commit and the edited code behind it."""
    head = git(root, "rev-parse", "--short", "HEAD").strip()
    edited = set(git(root, "diff", "--name-only", "--relative", "HEAD").split("\n")) - {""}
    edited |= set(git(root, "ls-files", "--others", "--exclude-standard").split("\n")) - {""}
    commit_of = {}
    for stage in stages:
        if stage.group == EVALUATION:
            code = [Path(path) for path in [*code_of(ancestry(stages, stage)), "dvc.yaml"]]
            changed = sorted(path for path in edited if any(Path(path).is_relative_to(one) for one in code))
            commit_of[stage.name] = f"{head} and edited {', '.join(changed)}" if changed else head
    return commit_of

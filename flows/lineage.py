"""Where each evaluation number comes from: the artifacts, parameters and code that it was made with, as dvc.lock records them."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flows.dvc import Snapshot, Stage
from flows.experiment import git

EVALUATION = "evaluate"  # the stage in dvc.yaml whose metrics are the results


def lineage_rows(now: Snapshot, commit: Mapping[str, str]) -> list[dict[str, str]]:
    """One row per metrics file of the evaluations, for all the numbers in it; `commit` names each evaluation's commit.

    *data* is the chain of artifacts up to the sources, *parameters* the sections that made them, each with the first digits of its
    hash. *outdated* names the stages of the chain that would run again: the number belongs to their old inputs, parameters or code.
    """
    rows = []
    for stage in now.stages:
        if stage.group == EVALUATION and stage.outs and all(stage.outs.values()):
            chain = ancestry(now.stages, stage)
            sections = {name: values for one in chain for name, values in one.params.items()}
            rows += [
                {
                    "numbers": metrics,
                    "commit": commit[stage.name],
                    "outdated": ", ".join(one.name for one in chain if one.name in now.changed),
                    "parameters": ", ".join(f"{name} {digest(values)}" for name, values in sections.items()),
                    "data": ", ".join(f"{path} {value[:8]}" for path, value in artifacts_of(chain).items()),
                }
                for metrics in stage.metrics
            ]
    return rows


def parameter_rows(stages: Sequence[Stage]) -> list[dict[str, str]]:
    """The values behind the hashes in *parameters*."""
    sections = {name: values for stage in stages for name, values in stage.params.items()}
    return [
        {"section": name, "hash": digest(values), "values": json.dumps(values)} for name, values in sections.items()
    ]


def ancestry(stages: Sequence[Stage], last: Stage) -> list[Stage]:
    """A stage and all that it rests on, upstream first."""
    needed = {last.name}
    for stage in reversed(stages):
        if stage.name in needed:
            needed.update(stage.upstream)
    return [stage for stage in stages if stage.name in needed]


def artifacts_of(chain: Sequence[Stage]) -> dict[str, str]:
    """Path → hash of what the chain's stages read from each other, and of the source folders."""
    made = {path for stage in chain for path in stage.outs}
    return {
        path: value for stage in chain for path, value in stage.deps.items() if path in made or value.endswith(".dir")
    }


def code_of(chain: Sequence[Stage]) -> list[str]:
    """The files of the checkout that the chain's stages run."""
    read = {path for stage in chain for path in stage.deps}
    return sorted(path for path in read - set(artifacts_of(chain)) if not Path(path).is_absolute())


def digest(values: Any) -> str:
    """The first digits of a hash of a section's values, the same for equal values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]


def commits(root: Path, stages: Sequence[Stage]) -> dict[str, str]:
    """For each evaluation the checkout's commit, and which of the code it rests on is not as in that commit."""
    head = git(root, "rev-parse", "--short", "HEAD").strip()
    edited = set(git(root, "diff", "--name-only", "--relative", "HEAD").split("\n")) - {""}
    edited |= set(git(root, "ls-files", "--others", "--exclude-standard").split("\n")) - {""}
    named = {}
    for stage in stages:
        if stage.group == EVALUATION:
            changed = [path for path in [*code_of(ancestry(stages, stage)), "dvc.yaml"] if path in edited]
            named[stage.name] = f"{head} and edited {', '.join(changed)}" if changed else head
    return named

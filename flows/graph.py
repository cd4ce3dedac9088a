"""The stages of dvc.yaml, and the choice of those to run."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypedDict

from pydantic import JsonValue

from flows.errors import UsageError, nearest

CODE = "stages/"  # the folder of the deps that are code
StageState = Literal["Completed", "Cached", "Restored", "Failed", "Cancelled"]


@dataclass(frozen=True)
class Stage:
    """One node of the graph; a matrix stage has one per item.

    name: DVC's address, `evaluate@sft-shapes-8`; upstream: the stages whose outputs this one reads; outs, deps: path →
    hash as recorded in dvc.lock, an empty hash before the first run; metrics: the outputs that hold numbers; in_git:
    the outputs that git keeps and DVC does not; params: section → values as recorded in dvc.lock; command: what DVC
    runs.
    """

    name: str
    upstream: tuple[str, ...]
    outs: dict[str, str]
    deps: dict[str, str] = field(default_factory=dict)
    metrics: tuple[str, ...] = ()
    params: dict[str, JsonValue] = field(default_factory=dict)
    command: str = ""
    in_git: tuple[str, ...] = ()

    @property
    def group(self) -> str:
        """The name in dvc.yaml, without the matrix item."""
        return self.name.partition("@")[0]

    def is_meant_by(self, target: str) -> bool:
        """Whether a target means this stage.

        It names the stage, its group, or the beginning of its matrix item: `evaluate@sft` means all items of the model
        sft.
        """
        return target in (self.name, self.group) or ("@" in target and self.name.startswith(f"{target}-"))


@dataclass(frozen=True)
class Snapshot:
    """A checkout as DVC sees it now.

    stages: in dvc.yaml's order, upstream first; changed: the names of the stages that are not up to date; metrics:
    number by `file:key`.
    """

    stages: list[Stage]
    changed: set[str]
    metrics: dict[str, float]


class StageEnd(TypedDict):
    """How a stage ended, as `flows.reproduce` writes it down.

    status: the exit status of the stage's command; 0 when the command did not run.
    """

    state: StageState
    status: int


@dataclass(frozen=True)
class StageResult:
    """How a stage ended, its seconds, and its command's exit status."""

    state: StageState
    seconds: float
    status: int = 0

    @property
    def succeeded(self) -> bool:
        """Whether the outputs of the stage are up to date."""
        return self.state in ("Completed", "Cached", "Restored")


def select(stages: Sequence[Stage], targets: Sequence[str], single: bool, downstream: bool) -> list[Stage]:
    """The stages of a run, selected as `dvc repro` selects them.

    By default these are the targets and what they need; with `single` the targets alone; with `downstream` the targets
    and what needs them. The plain name of a matrix stage means all its items. No targets mean all stages.
    """
    if single and downstream:
        raise UsageError("single and downstream exclude each other: choose one")
    if not targets:
        return list(stages)
    chosen: set[str] = set()
    for target in targets:
        found = {stage.name for stage in stages if stage.is_meant_by(target)}
        if not found:
            names = {stage.name for stage in stages} | {stage.group for stage in stages}
            raise UsageError(f"no stage {target!r} in dvc.yaml{nearest(target, names)}")
        chosen |= found
    if downstream:
        chosen = with_downstream(stages, chosen)
    elif not single:
        chosen = with_upstream(stages, chosen)
    return [stage for stage in stages if stage.name in chosen]


def with_upstream(stages: Sequence[Stage], names: set[str]) -> set[str]:
    """The names of some stages and of all that they rest on."""
    found = set(names)
    for stage in reversed(stages):
        if stage.name in found:
            found.update(stage.upstream)
    return found


def with_downstream(stages: Sequence[Stage], names: set[str]) -> set[str]:
    """The names of some stages and of all that rest on them."""
    found = set(names)
    for stage in stages:
        if found & set(stage.upstream):
            found.add(stage.name)
    return found

"""All that the flows know of DVC: the graph, what is up to date, and how to reproduce a stage. Nothing else here calls DVC."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, cast

import networkx
from dvc.dependency import ParamsDependency
from dvc.exceptions import DvcException
from dvc.output import Output
from dvc.repo import Repo
from dvc.stage import PipelineStage

from flows.process_tree import Guards

HINTS = (
    "Updating lock file",
    "Generating lock file",
    "To track the changes",
    "\tgit add",
    "To enable auto",
    "\tdvc config",
    "Use `dvc push`",
)
BUSY, BUSY_SECONDS = "is busy, it is being blocked by:", 5
State = Literal["Completed", "Cached", "Restored", "Failed"]


class UsageError(Exception):
    """One clear line for the person who started the run."""


@contextmanager
def told() -> Iterator[None]:
    """Turns what DVC cannot read into a `UsageError`, with the place in the file where DVC knows it."""
    try:
        yield
    except DvcException as error:
        reasons = dict.fromkeys(" ".join(str(reason).split()) for reason in (error, error.__cause__) if reason)
        raise UsageError(": ".join(reasons)) from error


@dataclass(frozen=True)
class Stage:
    """One node of the graph; a matrix stage is one per item.

    name: DVC's address, `evaluate@sft`; upstream: the stages whose outputs it reads; outs, deps: path → hash recorded in dvc.lock,
    empty before the first run; metrics: those of the outs that hold numbers; params: section → values recorded in dvc.lock.
    """

    name: str
    upstream: tuple[str, ...]
    outs: dict[str, str]
    deps: dict[str, str] = field(default_factory=dict)
    metrics: tuple[str, ...] = ()
    params: dict[str, Any] = field(default_factory=dict)
    command: str = ""

    @property
    def group(self) -> str:
        """The name in dvc.yaml, without the matrix item."""
        return self.name.partition("@")[0]


@dataclass(frozen=True)
class Snapshot:
    """A checkout as DVC sees it now: stages in dvc.yaml's order, upstream first; names of those that changed; metrics by `file:key`."""

    stages: list[Stage]
    changed: set[str]
    metrics: dict[str, float]


@dataclass(frozen=True)
class Outcome:
    """How a stage ended, and after how many seconds."""

    state: State
    seconds: float


def snapshot(root: Path) -> Snapshot:
    """Reads graph, status and metrics in one visit.

    `repo.status()` and `repo.metrics.show()` would each read the graph again, which takes longer than all the rest. UsageError if
    there is no checkout, or one that DVC cannot read.
    """
    with told(), Repo(str(root), _wait_for_lock=True) as repo, repo.lock:
        position = {stage: i for i, stage in enumerate(repo.index.stages) if isinstance(stage, PipelineStage)}
        graph = repo.index.graph.subgraph(position)
        order = list(networkx.lexicographical_topological_sort(graph.reverse(), key=position.__getitem__))
        stages = [
            read_stage(stage, [str(other.name) for other in sorted(graph.successors(stage), key=position.__getitem__)])
            for stage in order
        ]
        intact: set[tuple[str, str]] = set()
        changed = {str(stage.name) for stage in order if is_changed(stage, intact)}
    metrics = [root / path for stage in stages for path in stage.metrics]
    return Snapshot(
        stages, changed, {name: value for path in metrics for name, value in read_metrics(path, root).items()}
    )


def is_changed(stage: PipelineStage, intact: set[tuple[str, str]]) -> bool:
    """What `stage.status()` would find, but each path that several stages make and read is looked at once, and then kept in `intact`.

    An output must come before those that read it: DVC asks of it, and not of them, that it is in the cache.
    """
    for item in [*stage.outs, *([] if stage.frozen else stage.deps)]:
        place = (item.fs_path, str(recorded(item)))
        if place not in intact and item.status():
            return True
        intact.add(place)
    return stage.always_changed or stage.is_callback or stage.changed_stage()


def read_stage(stage: PipelineStage, upstream: Sequence[str]) -> Stage:
    """DVC's stage as the flows know it."""
    params = [dep for dep in stage.deps if isinstance(dep, ParamsDependency)]
    return Stage(
        name=str(stage.name),
        upstream=tuple(upstream),
        outs={out.def_path: recorded(out) or "" for out in stage.outs},
        deps={dep.def_path: recorded(dep) or "" for dep in stage.deps if dep not in params},
        metrics=tuple(out.def_path for out in stage.outs if out.metric),
        params={name: value for dep in params for name, value in (recorded(dep) or {}).items()},
        command=str(stage.cmd),
    )


def recorded(item: Output) -> Any:
    """What dvc.lock holds of an output or dependency: a hash, or the values of parameters; None if it holds nothing."""
    return item.hash_info.value if item.hash_info else None


def changed_items(root: Path, stage: str) -> dict[str, str]:
    """What differs from dvc.lock for one stage, path or section → the recorded hash; outputs are among them.

    UsageError when the stage was never recorded.
    """
    with told(), Repo(str(root), _wait_for_lock=True) as repo, repo.lock:
        found = next(node for node in repo.index.stages if isinstance(node, PipelineStage) and node.name == stage)
        items = [*found.outs, *found.deps]
        if not all(item.hash_info for item in items):
            raise UsageError(f"{stage} has no recorded outputs; run `dvc repro {stage}`")
        return {str(item): str(recorded(item)) for item in items if item.status()}


def source_folders(root: Path) -> list[Path]:
    """The folders that stages read, no stage writes to and Git does not hold, also those that are not there yet.

    UsageError if dvc.yaml cannot be read.
    """
    with told(), Repo(str(root)) as repo:
        stages = [stage for stage in repo.index.stages if isinstance(stage, PipelineStage)]
        read = {Path(dep.fs_path) for stage in stages for dep in stage.deps if not isinstance(dep, ParamsDependency)}
        data = [path for path in read if not path.is_file() and not repo.scm.is_tracked(str(path))]
    made = [Path(out.fs_path) for stage in stages for out in stage.outs]
    return sorted(
        path for path in data if not any(path.is_relative_to(out) or out.is_relative_to(path) for out in made)
    )


def share_cache(home: Path, root: Path) -> None:
    """Gives the worktree `root` the DVC settings of `home`, and its cache, whose files are linked where the disk allows it.

    DVC makes a link read-only, and a copy of it before a stage may add to an output.
    """
    settings = home / ".dvc" / "config.local"
    if settings.exists():
        (root / ".dvc" / "config.local").write_bytes(settings.read_bytes())
    with told(), Repo(str(home)) as repo:
        cache = {"type": ["reflink", "hardlink", "copy"]} | repo.config["cache"] | {"dir": repo.cache.local_cache_dir}
    with told(), Repo(str(root)) as repo, repo.config.edit("local") as local:
        cast("dict[str, Any]", local)["cache"] = cache


def read_metrics(path: Path, root: Path) -> dict[str, float]:
    """The numbers of a metrics file, named by its path in `root`; none if it is not there."""
    return numbers(path.relative_to(root).as_posix(), json.loads(path.read_text())) if path.exists() else {}


def numbers(path: str, content: Mapping[str, Any]) -> dict[str, float]:
    """A metrics file's content as `{"path:accuracy.all": 0.7}`; what is not a number is left out."""

    def walk(prefix: str, value: Any) -> dict[str, float]:
        if isinstance(value, Mapping):
            return {k: v for key, inner in value.items() for k, v in walk(f"{prefix}.{key}", inner).items()}
        return {prefix: value} if isinstance(value, int | float) else {}

    return {key: number for name, value in content.items() for key, number in walk(f"{path}:{name}", value).items()}


def select(stages: Sequence[Stage], targets: Sequence[str], single: bool, downstream: bool) -> list[Stage]:
    """The stages of a run as `dvc repro` selects them: the targets and what they need, only the targets (`single`), or the
    targets and what needs them (`downstream`). A matrix stage's plain name means all its items; no targets mean all stages.
    """
    if single and downstream:
        raise UsageError("single and downstream exclude each other: choose one")
    if not targets:
        return list(stages)
    known = {stage.name for stage in stages} | {stage.group for stage in stages}
    for target in targets:
        if target not in known:
            raise UsageError(f"no stage {target!r} in dvc.yaml{nearest(target, known)}")
    chosen = {stage.name for stage in stages if stage.name in targets or stage.group in targets}
    if downstream:
        for stage in stages:
            if chosen & set(stage.upstream):
                chosen.add(stage.name)
    elif not single:
        for stage in reversed(stages):
            if stage.name in chosen:
                chosen.update(stage.upstream)
    return [stage for stage in stages if stage.name in chosen]


def nearest(name: str, known: set[str]) -> str:
    """`; nearest: …`, or nothing if no known name is near."""
    return "".join(f"; nearest: {match}" for match in get_close_matches(name, known, n=1))


def reproduce(root: Path, stage: str, guards: Guards, on_line: Callable[[str], None], force: bool = False) -> Outcome:
    """`dvc repro -s` of one stage under a guard, its lines passed on as they come.

    Somebody's own `dvc repro` may be at the stage or its inputs: DVC then names that process and gives up, and is asked again.
    """
    state: State = "Completed"
    busy, said = False, set[str]()

    def take(line: str) -> None:
        nonlocal state, busy
        busy |= BUSY in line
        if line == f"Stage '{stage}' didn't change, skipping":
            state = "Cached"
        elif line == f"Stage '{stage}' is cached - skipping run, checking out outputs":
            state = "Restored"
        if line and not line.startswith(HINTS) and not (busy and line in said):
            on_line(line)
        if busy:
            said.add(line)

    command = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "-s", stage, *(["--force"] if force else [])]
    start = time.monotonic()
    status = guards.run(command, root, environment(), take)
    while busy and not guards.stopped:
        time.sleep(BUSY_SECONDS)
        busy = False
        status = guards.run(command, root, environment(), take)
    return Outcome("Failed" if status else state, time.monotonic() - start)


def call(root: Path, *arguments: str) -> str:
    """Runs a short DVC command that belongs to no stage; its output, or `UsageError` with what it said."""
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", *arguments]
    done = subprocess.run(command, cwd=root, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise UsageError(f"dvc {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def environment() -> dict[str, str]:
    """The flow's environment; `python` in a stage's command is the Python that runs the flow, its lines come unbuffered, and its
    progress comes as lines.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1", "VIDEO_R1_PROGRESS": "lines"}

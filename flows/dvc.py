"""All that the flows know of DVC.

No other file here calls DVC. This one reads the graph, says what is up to date, and brings a stage up to date.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import networkx
from dvc.dependency import ParamsDependency
from dvc.exceptions import DvcException
from dvc.output import Output
from dvc.repo import Repo
from dvc.stage import PipelineStage
from pydantic import JsonValue

from flows import server
from flows.errors import UsageError
from flows.graph import Snapshot, Stage, StageEnd, StageResult
from flows.process_tree import CommandRunner
from flows.source_files import refuse_special_files


@contextmanager
def readable_errors() -> Iterator[None]:
    """Turns an error of DVC into a `UsageError` of one line."""
    try:
        yield
    except DvcException as error:
        reasons = dict.fromkeys(" ".join(str(reason).split()) for reason in (error, error.__cause__) if reason)
        raise UsageError(": ".join(reasons)) from error


def snapshot(root: Path) -> Snapshot:
    """Reads graph, status and metrics in one visit.

    `repo.status()` and `repo.metrics.show()` would each read the graph again, which takes longer than all the rest.
    UsageError when there is no checkout, or one that DVC cannot read.
    """
    with readable_errors(), Repo(str(root), _wait_for_lock=True) as repo, repo.lock:
        position = {stage: i for i, stage in enumerate(repo.index.stages) if isinstance(stage, PipelineStage)}
        graph = repo.index.graph.subgraph(position)
        order = list(networkx.lexicographical_topological_sort(graph.reverse(), key=position.__getitem__))
        stages = []
        for stage in order:
            upstream = sorted(graph.successors(stage), key=position.__getitem__)
            stages.append(to_stage(stage, [str(other.name) for other in upstream]))
        for path in sorted({dep.fs_path for stage in order for dep in stage.deps}):
            refuse_special_files(Path(path))  # before DVC hashes it
        unchanged: set[tuple[str, str]] = set()
        changed = {str(stage.name) for stage in order if is_changed(stage, unchanged)}
    metrics: dict[str, float] = {}
    for path in (root / path for stage in stages for path in stage.metrics):
        metrics |= read_metrics(path, root)
    return Snapshot(stages, changed, metrics)


def is_changed(stage: PipelineStage, unchanged: set[tuple[str, str]]) -> bool:
    """Whether `stage.status()` would find a change.

    Several stages make or read the same path. It is looked at once and then noted in `unchanged`. So the stage that
    writes a path must come before those that read it: DVC asks of an output, and not of a dependency, that it is in the
    cache.
    """
    for item in [*stage.outs, *([] if stage.frozen else stage.deps)]:
        place = (item.fs_path, str(recorded_value(item)))
        if place not in unchanged and item.status():
            return True
        unchanged.add(place)
    return stage.always_changed or stage.is_callback or stage.changed_stage()


def to_stage(stage: PipelineStage, upstream: Sequence[str]) -> Stage:
    """DVC's stage as the flows know it."""
    params = [dep for dep in stage.deps if isinstance(dep, ParamsDependency)]
    return Stage(
        name=str(stage.name),
        upstream=tuple(upstream),
        outs={out.def_path: recorded_hash(out) for out in stage.outs},
        deps={dep.def_path: recorded_hash(dep) for dep in stage.deps if dep not in params},
        metrics=tuple(out.def_path for out in stage.outs if out.metric),
        in_git=tuple(out.def_path for out in stage.outs if not out.use_cache),
        params={name: value for dep in params for name, value in recorded_params(dep).items()},
        command=str(stage.cmd),
    )


def changed_items(root: Path, stage: str) -> dict[str, str]:
    """What differs from dvc.lock: path or section → recorded hash.

    Outputs are among them. UsageError when the stage was never recorded.
    """
    with readable_errors(), Repo(str(root), _wait_for_lock=True) as repo, repo.lock:
        found = next(node for node in repo.index.stages if isinstance(node, PipelineStage) and node.name == stage)
        items = [*found.outs, *found.deps]
        if not all(item.hash_info for item in items):
            raise UsageError(f"{stage} has no recorded outputs; run `dvc repro {stage}`")
        return {str(item): str(recorded_value(item)) for item in items if item.status()}


def recorded_value(item: Output) -> object:
    """What dvc.lock holds of an item: a hash, parameters, or None."""
    return item.hash_info.value if item.hash_info else None


def recorded_hash(item: Output) -> str:
    """The hash in dvc.lock; empty before the first run."""
    return str(recorded_value(item) or "")


def recorded_params(dependency: ParamsDependency) -> dict[str, JsonValue]:
    """The parameters in dvc.lock; none before the first run."""
    return cast("dict[str, JsonValue]", recorded_value(dependency) or {})


def source_folders(root: Path) -> list[Path]:
    """The folders that stages read and neither a stage nor git provides.

    A folder that does not exist yet is one of them. UsageError when dvc.yaml cannot be read.
    """
    with readable_errors(), Repo(str(root)) as repo:
        stages = [stage for stage in repo.index.stages if isinstance(stage, PipelineStage)]
        read = {Path(dep.fs_path) for stage in stages for dep in stage.deps if not isinstance(dep, ParamsDependency)}
        data = [path for path in read if not path.is_file() and not repo.scm.is_tracked(str(path))]
    outputs = [Path(out.fs_path) for stage in stages for out in stage.outs]

    def is_written(path: Path) -> bool:
        return any(path.is_relative_to(out) or out.is_relative_to(path) for out in outputs)

    return sorted(path for path in data if not is_written(path))


def share_cache(home: Path, root: Path) -> None:
    """Gives the worktree `root` the DVC settings and the cache of `home`.

    Files come as links where the disk allows links. DVC makes a link read-only, and copies the file before a stage adds
    to it.
    """
    settings = home / ".dvc" / "config.local"
    if settings.exists():
        (root / ".dvc" / "config.local").write_bytes(settings.read_bytes())
    with readable_errors(), Repo(str(home)) as repo:
        # From a relative path DVC writes one relative to its settings. It can write no absolute path that is not ASCII.
        folder = os.path.relpath(repo.cache.local_cache_dir)
        cache = {"type": ["reflink", "hardlink", "copy"]} | repo.config["cache"] | {"dir": folder}
    with readable_errors(), Repo(str(root)) as repo, repo.config.edit("local") as local:
        cast("dict[str, object]", local)["cache"] = cache


def read_metrics(path: Path, root: Path) -> dict[str, float]:
    """The numbers of a metrics file, `{"path:accuracy.all": 0.7}`; none without the file.

    The path is that in `root`.
    """
    return flat_numbers(f"{path.relative_to(root).as_posix()}:", json.loads(path.read_text())) if path.exists() else {}


def flat_numbers(prefix: str, value: JsonValue) -> dict[str, float]:
    """The numbers in nested sections, under dotted names."""
    if isinstance(value, Mapping):
        found: dict[str, float] = {}
        for key, inner in value.items():
            dot = "" if prefix.endswith(":") else "."
            found |= flat_numbers(f"{prefix}{dot}{key}", inner)
        return found
    return {prefix: value} if isinstance(value, int | float) else {}


def reproduce(
    root: Path,
    stage: str,
    runner: CommandRunner,
    on_line: Callable[[str], None],
    force: bool = False,
    locks: Sequence[int] = (),
    mark: str = "",
) -> StageResult:
    """Brings one stage up to date and passes its lines on.

    `flows.reproduce` does the work in a process of its own and says how the stage ended. `locks` are descriptors of
    locks that last until the last process of the stage is gone. Lines of its progress begin with `mark`.
    """
    start = time.monotonic()
    with TemporaryDirectory() as folder:
        end = Path(folder) / "end.json"
        command = [sys.executable, "-m", "flows.reproduce", stage, str(end), *(["--force"] if force else [])]
        runner.run(command, root, environment(mark), on_line, locks)
        ended: StageEnd = json.loads(end.read_text()) if end.exists() else {"state": "Failed", "status": 1}
    cancelled = runner.stopped and ended["state"] == "Failed"
    return StageResult("Cancelled" if cancelled else ended["state"], time.monotonic() - start, ended["status"])


def call(root: Path, *arguments: str) -> str:
    """Runs a short DVC command and returns its output.

    The command belongs to no stage. UsageError, with DVC's own words, when the command fails.
    """
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", *arguments]
    done = subprocess.run(command, cwd=root, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise UsageError(f"dvc {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def environment(mark: str = "") -> dict[str, str]:
    """The environment of a stage.

    `python` in the stage's command is the Python that runs the flow. Its output is not buffered, it gets no key of the
    server, and lines of its progress begin with `mark`.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    env = server.without_keys(os.environ)
    return {**env, "PATH": path, "PYTHONUNBUFFERED": "1", "VIDEO_R1_PROGRESS": mark}

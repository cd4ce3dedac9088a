"""Brings the stages of a checkout up to date, one task each."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import TaskRunContext
from prefect.futures import PrefectFuture
from prefect.states import Cancelled, Completed, Failed
from prefect.tasks import Task

from flows import dvc, training_slot
from flows.graph import Snapshot, Stage, StageResult
from flows.lock import WaitCancelled
from flows.process_tree import CommandRunner
from flows.stage_log import StageLog

RETRIES: list[float] = [10, 60]  # seconds before each new try
SERVER_AWAY = "Server away"  # the state of a stage whose endpoint may come back


class GraphRun:
    """The stages that a run brings up to date, and their results.

    root: the checkout. before: the checkout as it was; stages: those to bring up to date, upstream first; force: run
    them even when nothing changed.
    """

    def __init__(
        self, root: Path, before: Snapshot, stages: Sequence[Stage], runner: CommandRunner, force: bool
    ) -> None:
        self.root, self.before, self.stages, self.runner, self.force = root, before, stages, runner, force
        self.results: dict[str, StageResult] = {}

    def start(self, label: str = "") -> list[PrefectFuture[State[None]]]:
        """Starts a task per stage.

        Each task waits for the stages that its own reads from. The label tells the experiments of a sweep apart.
        """
        futures: dict[str, PrefectFuture[State[None]]] = {}
        for stage in self.stages:
            name = f"{label} {stage.name}".strip()  # as the task's name it shows in the graph while the stage waits
            named = run_stage.with_options(name=name, task_run_name=name)
            upstream = [futures[name] for name in stage.upstream if name in futures]
            futures[stage.name] = named.submit(self, stage, return_state=False, wait_for=upstream)
        return list(futures.values())

    def is_up_to_date(self, stage: Stage) -> bool:
        """Whether the stage and all it reads are as they were."""
        upstream = [self.results[name].state for name in stage.upstream if name in self.results]
        return not self.force and stage.name not in self.before.changed and all(state == "Cached" for state in upstream)

    @property
    def succeeded(self) -> bool:
        """Whether every stage was reached and is up to date."""
        return len(self.results) == len(self.stages) and all(one.succeeded for one in self.results.values())

    @property
    def did_nothing(self) -> bool:
        """Whether every stage was up to date."""
        return len(self.results) == len(self.stages) and all(one.state == "Cached" for one in self.results.values())

    def summary(self) -> str:
        """`2 completed, 7 cached`, and which failed."""
        counts = Counter(result.state.lower() for result in self.results.values())
        counts["not reached"] = len(self.stages) - len(self.results)
        failed = [name for name, result in self.results.items() if result.state == "Failed"]
        text = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
        return text + (f" ({', '.join(failed)} failed)" if failed else "")

    def final_state(self) -> State[None]:
        """The state of a flow that ran these stages."""
        return Completed(message=self.summary()) if self.succeeded else Failed(message=self.summary())


def may_come_back(task: Task[..., object], task_run: TaskRun, state: State[object]) -> bool:
    """Whether another try may help: the stage's endpoint may come back."""
    return state.name == SERVER_AWAY


@task(
    name="stage",
    cache_policy=NO_CACHE,
    retries=len(RETRIES),
    retry_delay_seconds=RETRIES,
    retry_condition_fn=may_come_back,
)
def run_stage(graph_run: GraphRun, stage: Stage) -> State[None]:
    """Brings one stage up to date; its lines are the task's log."""
    log = StageLog(stage.name)
    result = StageResult("Cached", 0.0)
    if not graph_run.is_up_to_date(stage):
        result = reproduce(graph_run, stage, log)
    graph_run.results[stage.name] = result
    if result.succeeded:
        rename_task(result.state)
        message = "up to date" if result.state == "Cached" else f"{result.seconds:.1f} s"
        return Completed(name=result.state, message=message)
    message = "\n".join([*log.tail, *advice(graph_run.root, stage)])
    if result.state == "Cancelled":
        return Cancelled(message=message)
    return Failed(name=SERVER_AWAY if result.status == os.EX_TEMPFAIL else "Failed", message=message)


def reproduce(graph_run: GraphRun, stage: Stage, log: StageLog) -> StageResult:
    """Asks DVC for the stage; training waits for its slot first."""
    runner = graph_run.runner
    try:
        with slots_for(stage, runner) as locks:
            return dvc.reproduce(graph_run.root, stage.name, runner, log.take, graph_run.force, locks, log.mark)
    except WaitCancelled:
        return StageResult("Cancelled", 0.0)


@contextmanager
def slots_for(stage: Stage, runner: CommandRunner) -> Iterator[list[int]]:
    """The locks that a stage needs while it runs."""
    if stage.group not in training_slot.STAGES:
        yield []
        return
    with training_slot.training_slot(lambda: runner.stopped) as descriptor:
        yield [descriptor]


def rename_task(state: str) -> None:
    """Puts the state into the task's name, for the run graph.

    In the graph a stage that ran and one that was up to date have the same colour.
    """
    if context := TaskRunContext.get():
        context.task_run.name = f"{context.task_run.name} ({state.lower()})"


def advice(root: Path, stage: Stage) -> list[str]:
    """How to get back the outputs that DVC removed."""
    lost = [path for path, value in stage.outs.items() if value and not (root / path).exists()]
    if not lost:
        return []
    ways = []
    if any(path not in stage.in_git for path in lost):
        ways.append(f"`dvc checkout --force {stage.name}`")
    if in_git := [path for path in lost if path in stage.in_git]:
        ways.append(f"`git checkout -- {' '.join(in_git)}`")
    return [f"DVC removed the old outputs before the stage ran; to get them back: {', '.join(ways)}"]

"""Brings the stages of a checkout up to date, one task each."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

import httpx
from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.client.schemas.objects import State, TaskRun
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectNotFound
from prefect.futures import PrefectFuture
from prefect.states import Completed, Failed
from prefect.tasks import Task

from flows import dvc
from flows.graph import Snapshot, Stage, StageResult
from flows.process_tree import CommandRunner
from flows.stage_log import StageLog

TRAINING = ("sft", "tgrpo")  # one of these at a time, over all runs of the server
RETRIES: list[float] = [10, 60]  # seconds before each new try
TEMPORARY = f"exited with {os.EX_TEMPFAIL}"  # DVC's words for a stage whose endpoint may come back


class GraphRun:
    """The stages that a run brings up to date, and their results.

    root: the checkout.

    before: the checkout as it was; stages: those to bring up to date, upstream first; force: run them even when nothing
    changed.
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
        """Whether every stage was reached and none failed."""
        return len(self.results) == len(self.stages) and all(one.state != "Failed" for one in self.results.values())

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
    return TEMPORARY in (state.message or "")


@task(
    name="stage",
    cache_policy=NO_CACHE,
    retries=len(RETRIES),
    retry_delay_seconds=RETRIES,
    retry_condition_fn=may_come_back,
)
def run_stage(graph_run: GraphRun, stage: Stage) -> State[None]:
    """Brings one stage up to date; its lines are the task's log."""
    result, log = StageResult("Cached", 0.0), StageLog(stage.name)
    if not graph_run.is_up_to_date(stage):
        with training_slot(graph_run.runner) if stage.group in TRAINING else nullcontext():
            result = dvc.reproduce(graph_run.root, stage.name, graph_run.runner, log.take, graph_run.force)
    graph_run.results[stage.name] = result
    if result.state == "Failed":
        return Failed(message="\n".join(log.tail))
    message = "up to date" if result.state == "Cached" else f"{result.seconds:.1f} s"
    return Completed(name=result.state, message=message)


@contextmanager
def training_slot(runner: CommandRunner) -> Iterator[None]:
    """Waits for the server's slot for training stages.

    The slot of a killed run becomes free within a minute.
    """
    has_waited = False
    while not runner.stopped:
        with ExitStack() as stack:
            slot = concurrency(
                "training", timeout_seconds=10, lease_duration=60, strict=True, raise_on_lease_renewal_failure=False
            )
            try:
                stack.enter_context(slot)
            except TimeoutError:
                if not has_waited:
                    get_run_logger().info("another run trains: waiting for the server's concurrency limit 'training'")
                has_waited = True
                continue
            yield
            try:
                stack.close()
            except httpx.HTTPError as error:  # the server is away: the slot gets free by itself
                get_run_logger().warning("the training slot could not be given back: %s", error)
            return
    yield


def provide_training_slot() -> None:
    """Creates the limit `training` unless the server has one.

    It can be raised in the UI where several GPUs allow more.
    """
    with get_client(sync_client=True) as client:
        try:
            client.read_global_concurrency_limit_by_name("training")
        except ObjectNotFound:
            client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name="training", limit=1))

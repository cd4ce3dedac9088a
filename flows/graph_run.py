"""One walk over DVC's graph: a Prefect task per stage."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import httpx
from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.client.schemas.objects import State
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectNotFound
from prefect.futures import PrefectFuture
from prefect.states import Completed, Failed

from flows import dvc
from flows.dvc import Outcome, Snapshot, Stage
from flows.process_tree import Guards
from flows.stage_log import StageLog

TRAINING = ("sft", "tgrpo")  # one of these at a time, over all runs of the server
RETRIES: list[float] = [10, 60]  # seconds before each new try
TEMPORARY = f"exited with {os.EX_TEMPFAIL}"  # DVC's words for a stage whose endpoint may come back


class Walk:
    """What is to be done in a checkout, and how each stage ended.

    before: the checkout as it was; stages: those to bring up to date, upstream first; force: run them even if nothing changed.
    """

    def __init__(self, root: Path, before: Snapshot, stages: Sequence[Stage], guards: Guards, force: bool) -> None:
        self.root, self.before, self.stages, self.guards, self.force = root, before, stages, guards, force
        self.outcomes: dict[str, Outcome] = {}

    def start(self, label: str = "") -> list[PrefectFuture[Any]]:
        """Starts a task per stage; each waits for those it reads from. The label tells the walks of a sweep apart."""
        futures: dict[str, PrefectFuture[Any]] = {}
        for stage in self.stages:
            name = f"{label} {stage.name}".strip()  # as the task's name it shows in the graph while the stage waits
            named = run_stage.with_options(name=name, task_run_name=name)
            upstream = [futures[name] for name in stage.upstream if name in futures]
            futures[stage.name] = named.submit(self, stage, return_state=False, wait_for=upstream)
        return list(futures.values())

    def is_up_to_date(self, stage: Stage) -> bool:
        """Whether DVC need not be asked: the stage had not changed, and nothing it reads was made anew."""
        upstream = [self.outcomes[name].state for name in stage.upstream if name in self.outcomes]
        return not self.force and stage.name not in self.before.changed and all(state == "Cached" for state in upstream)

    @property
    def succeeded(self) -> bool:
        """Whether every stage was reached and none failed."""
        return len(self.outcomes) == len(self.stages) and all(done.state != "Failed" for done in self.outcomes.values())

    @property
    def did_nothing(self) -> bool:
        """Whether every stage was up to date."""
        return len(self.outcomes) == len(self.stages) and all(done.state == "Cached" for done in self.outcomes.values())

    def summary(self) -> str:
        """`2 completed, 7 cached`, and which failed."""
        counts = Counter(outcome.state.lower() for outcome in self.outcomes.values())
        counts["not reached"] = len(self.stages) - len(self.outcomes)
        failed = [name for name, outcome in self.outcomes.items() if outcome.state == "Failed"]
        text = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
        return text + (f" ({', '.join(failed)} failed)" if failed else "")


def may_come_back(task: Any, task_run: Any, state: State[Any]) -> bool:
    """Whether a stage is worth another try: an endpoint comes back, an assertion does not."""
    return TEMPORARY in (state.message or "")


@task(
    name="stage",
    cache_policy=NO_CACHE,
    retries=len(RETRIES),
    retry_delay_seconds=RETRIES,
    retry_condition_fn=may_come_back,
)
def run_stage(walk: Walk, stage: Stage) -> State[Any]:
    """Brings one stage up to date; the lines it writes are the task's log."""
    outcome, log = Outcome("Cached", 0.0), StageLog(stage.name)
    if not walk.is_up_to_date(stage):
        with training_slot(walk.guards) if stage.group in TRAINING else nullcontext():
            outcome = dvc.reproduce(walk.root, stage.name, walk.guards, log.take, walk.force)
    walk.outcomes[stage.name] = outcome
    if outcome.state == "Failed":
        return Failed(message="\n".join(log.tail))
    return Completed(
        name=outcome.state, message="up to date" if outcome.state == "Cached" else f"{outcome.seconds:.1f} s"
    )


@contextmanager
def training_slot(guards: Guards) -> Iterator[None]:
    """Waits for the server's slot for training stages. A run that was killed gives it back within a minute."""
    told = False
    while not guards.stopped:
        with ExitStack() as stack:
            slot = concurrency(
                "training", timeout_seconds=10, lease_duration=60, strict=True, raise_on_lease_renewal_failure=False
            )
            try:
                stack.enter_context(slot)
            except TimeoutError:
                if not told:
                    get_run_logger().info("another run trains: waiting for the server's concurrency limit 'training'")
                told = True
                continue
            yield
            try:
                stack.close()
            except httpx.HTTPError as error:  # the server is away: the slot gets free by itself
                get_run_logger().warning("the training slot could not be given back: %s", error)
            return
    yield


def provide_training_slot() -> None:
    """Creates the limit unless the server has one; raise it in the UI where several GPUs allow more."""
    with get_client(sync_client=True) as client:
        try:
            client.read_global_concurrency_limit_by_name("training")
        except ObjectNotFound:
            client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name="training", limit=1))

"""The flow `evaluate`: one checkpoint on one benchmark, beside the pipeline and without a change to the checkout.

The command is that of dvc.yaml's stage for the benchmark, with another model and other outputs. What it makes lies under
`runs/evaluate/`, which neither git nor DVC looks at.
"""

import re
import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.futures import wait
from prefect.states import Completed, Failed

from flows import artifacts, dvc
from flows.dvc import Stage, UsageError, nearest
from flows.graph_run import Walk
from flows.lineage import EVALUATION
from flows.lock import hold
from flows.process_tree import Guards
from flows.runs import bury, checkout_lock, end_with_worker, run_name, tell_waiting
from flows.stage_log import StageLog


@flow(name="evaluate")
def evaluate(checkpoint: str, benchmark: str = "shapes", name: str = "") -> State[Any]:
    """Ask a model every question of a benchmark and show how it scored. The benchmark's frames are brought up to date first.

    Args:
        checkpoint: The folder of a model or of a checkpoint, `models/sft`, or the name of a model on the hub.
        benchmark: One that dvc.yaml evaluates, `shapes`; where it does with several numbers of frames, with one of them, `shapes-8`.
        name: What to call the model in the results. Empty: made from the checkpoint.
    """
    end_with_worker()
    home = Path.cwd()
    label = name or re.sub(r"[^A-Za-z0-9.]+", "-", checkpoint).strip("-.")
    try:
        with hold(checkout_lock(home), run_name(), tell_waiting, bury) as lock, Guards([lock]) as guards:
            return evaluate_in(home, checkpoint, benchmark, label, guards)
    except UsageError as error:
        return Failed(message=str(error))


def evaluate_in(home: Path, checkpoint: str, benchmark: str, label: str, guards: Guards) -> State[Any]:
    """Brings the benchmark up to date, runs its command and publishes the metrics, against those that the same name had before."""
    if not re.fullmatch(r"[\w.-]+", label):
        raise UsageError(f"{label!r} cannot be the name of a folder: use letters, digits, dots and dashes")
    before = dvc.snapshot(home)
    stage = find_stage(before.stages, benchmark)
    folder = Path("runs") / EVALUATION / f"{label}-{benchmark}"
    outputs = {"--predictions": str(folder / "predictions.parquet"), "--metrics": str(folder / "metrics.json")}
    command, replaced = with_options(stage.command, {"--name": label, "--model": checkpoint, **outputs})
    makes_model = {one.name for one in before.stages if replaced["--model"] in one.outs}
    needed = dvc.select(
        before.stages, [one for one in stage.upstream if one not in makes_model], single=False, downstream=False
    )
    walk = Walk(home, before, needed, guards, force=False)
    wait(walk.start())
    if not walk.succeeded:
        return Failed(message=walk.summary())
    metrics = home / outputs["--metrics"]
    earlier = dvc.read_metrics(metrics, home)
    state = run_command.with_options(task_run_name=f"{label} on {benchmark}")(home, command, guards, return_state=True)
    if not state.is_completed():
        return Failed(message=state.message)
    artifacts.publish_metrics(earlier, dvc.read_metrics(metrics, home))
    return Completed(message=f"{checkpoint} on {benchmark}: {folder}")


@task(name="evaluate", cache_policy=NO_CACHE)
def run_command(home: Path, command: Sequence[str], guards: Guards) -> State[Any]:
    """Runs the evaluation; the lines it writes are the task's log."""
    start, log = time.monotonic(), StageLog("evaluate")
    if guards.run(command, home, dvc.environment(), log.take):
        return Failed(message="\n".join(log.tail))
    return Completed(message=f"{time.monotonic() - start:.1f} s")


def find_stage(stages: Sequence[Stage], benchmark: str) -> Stage:
    """The first stage that evaluates a model on the benchmark."""
    evaluations: dict[str, Stage] = {}
    for stage in reversed(stages):
        if stage.group == EVALUATION:
            _, words = with_options(stage.command, {"--benchmark": "", "--data": ""})
            evaluations |= dict.fromkeys((words["--benchmark"], Path(words["--data"]).name), stage)
    if benchmark not in evaluations:
        raise UsageError(f"dvc.yaml evaluates nothing on {benchmark!r}{nearest(benchmark, set(evaluations))}")
    return evaluations[benchmark]


def with_options(command: str, options: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """The words of a command with other values after some of its options, and the values that were there."""
    words = shlex.split(command)
    replaced = {}
    for option, value in options.items():
        if option not in words:
            raise UsageError(f"dvc.yaml's evaluation has no {option}: {command}")
        place = words.index(option) + 1
        replaced[option], words[place] = words[place], value
    return words, replaced

"""The flow `evaluate`: one checkpoint on one benchmark, beside the pipeline.

The command is that of dvc.yaml's stage for the benchmark, with another model and other outputs. The outputs lie under
`runs/evaluate/`, where neither git nor DVC looks. The checkout stays as it is.

    python -m flows.evaluate_checkpoint models/sft shapes
"""

import argparse
import itertools
import re
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.futures import wait
from prefect.states import Completed, Failed

from flows import artifacts, dvc, graph, parameters, server
from flows.checkout import checkout_lock, find_checkout
from flows.errors import UsageError, nearest, one_line
from flows.graph import Stage
from flows.graph_run import GraphRun
from flows.lineage import EVALUATION
from flows.lock import hold
from flows.process_tree import CommandRunner
from flows.runs import end_with_worker, mark_crashed, run_name, tell_waiting
from flows.stage_log import StageLog


@flow(name="evaluate")
def evaluate(checkpoint: str, benchmark: str = "shapes", name: str = "") -> State[None]:
    """Ask a model every question of a benchmark and show its score.

    The frames of the benchmark are brought up to date first.

    Args:
        checkpoint: The folder of a model or of a checkpoint, `models/sft`, or the name of a model on the hub.
        benchmark: One that dvc.yaml evaluates, `shapes`. Where it has several numbers of frames, one of them:
            `shapes-8`.
        name: What to call the model in the results. Empty: made from the checkpoint.
    """
    end_with_worker()
    label = name or re.sub(r"[^A-Za-z0-9.]+", "-", checkpoint).strip("-.")
    try:
        home = find_checkout(Path.cwd())
        with hold(checkout_lock(home), run_name(), tell_waiting, mark_crashed) as lock, CommandRunner([lock]) as runner:
            return evaluate_in(home, checkpoint, benchmark, label, runner)
    except UsageError as error:
        return Failed(message=str(error))


def evaluate_in(home: Path, checkpoint: str, benchmark: str, label: str, runner: CommandRunner) -> State[None]:
    """Brings the benchmark up to date, evaluates, and publishes the metrics.

    The metrics are compared with those of the last evaluation of the same name.
    """
    if not re.fullmatch(r"[\w.-]+", label):
        raise UsageError(f"{label!r} cannot be the name of a folder: use letters, digits, dots and dashes")
    parameters.check_templates(home, (home / "params.yaml").read_text(encoding="utf-8"), "params.yaml")
    before = dvc.snapshot(home)
    stage = find_stage(before.stages, benchmark)
    folder = Path("runs") / EVALUATION / f"{label}-{benchmark}"
    outputs = outputs_in(folder, stage)
    command, replaced = with_options(stage.command, {"--name": label, "--model": checkpoint, **outputs})
    makes_model = {one.name for one in before.stages if replaced["--model"] in one.outs}
    targets = [one for one in stage.upstream if one not in makes_model]
    needed = graph.select(before.stages, targets, single=False, downstream=False)
    graph_run = GraphRun(home, before, needed, runner, force=False)
    wait(graph_run.start())
    if not graph_run.succeeded:
        return graph_run.final_state()
    metrics = home / folder / "metrics.json"
    earlier = dvc.read_metrics(metrics, home)
    state = run_command.with_options(task_run_name=f"{label} on {benchmark}")(home, command, runner, return_state=True)
    if not state.is_completed():
        return Failed(message=state.message)
    artifacts.publish_metrics(earlier, dvc.read_metrics(metrics, home))
    return Completed(message=f"{checkpoint} on {benchmark}: {folder}")


@task(name="evaluate", cache_policy=NO_CACHE)
def run_command(home: Path, command: Sequence[str], runner: CommandRunner) -> State[None]:
    """Runs the evaluation; its lines are the log of the task."""
    start, log = time.monotonic(), StageLog("evaluate")
    if runner.run(command, home, dvc.environment(log.mark), log.take):
        return Failed(message="\n".join(log.tail))
    return Completed(message=f"{time.monotonic() - start:.1f} s")


def outputs_in(folder: Path, stage: Stage) -> dict[str, str]:
    """For each option that names an output, a file of the folder."""
    words = words_of(stage.command)
    options = [(option, path) for option, path in itertools.pairwise(words) if path in stage.outs]
    return {option: str(folder / f"{option.lstrip('-')}{Path(path).suffix}") for option, path in options}


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


def words_of(command: str) -> list[str]:
    """A command's words, with `{name}` filled in from `--name`.

    The stages fill it in likewise.
    """
    words = shlex.split(command)
    values = {option: value for option, value in itertools.pairwise(words) if option.startswith("--")}
    return [re.sub(r"\{(\w+)\}", lambda found: values.get(f"--{found[1]}", found[0]), word) for word in words]


def with_options(command: str, options: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """A command's words with options changed, and the old values."""
    words = words_of(command)
    replaced = {}
    for option, value in options.items():
        if option not in words:
            raise UsageError(f"dvc.yaml's evaluation has no {option}: {command}")
        place = words.index(option) + 1
        replaced[option], words[place] = words[place], value
    return words, replaced


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs `evaluate` in this process; 0 when it completed."""
    parser = argparse.ArgumentParser(
        "python -m flows.evaluate_checkpoint", description="Evaluate one checkpoint on one benchmark."
    )
    parser.add_argument("checkpoint", help="the folder of a model, or the name of a model on the hub")
    parser.add_argument("benchmark", nargs="?", default="shapes", help="one that dvc.yaml evaluates")
    parser.add_argument("--name", default="", help="what to call the model (default: made from the checkpoint)")
    options = parser.parse_args(arguments)
    with one_line("evaluate"):
        find_stage(dvc.snapshot(find_checkout(Path.cwd())).stages, options.benchmark)
        with server.found():
            state = evaluate(options.checkpoint, options.benchmark, options.name, return_state=True)
    return 0 if state.is_completed() else 1


if __name__ == "__main__":
    sys.exit(main())

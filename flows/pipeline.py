"""The pipeline as Prefect flows.

`pipeline` brings it up to date, `sweep` tries several parameters.

    python -m flows.pipeline                           # everything that is not up to date
    python -m flows.pipeline evaluate                  # a stage and what it needs
    python -m flows.pipeline --set tgrpo.alpha=0.5     # other parameters: a DVC experiment, the checkout stays as it is
"""

import argparse
import itertools
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.futures import wait
from prefect.states import Completed, Failed
from pydantic import Field, JsonValue
from ruamel.yaml import YAMLError

from flows import artifacts, dvc, experiment, graph
from flows.artifacts import ExperimentResult
from flows.errors import UsageError
from flows.experiment import Experiment
from flows.graph import Snapshot, Stage
from flows.graph_run import GraphRun, provide_training_slot
from flows.lock import hold
from flows.process_tree import CommandRunner
from flows.runs import checkout_lock, end_with_worker, mark_crashed, run_name, tell_waiting

Select = Callable[[Sequence[Stage]], list[Stage]]


@flow(name="pipeline")
def pipeline(
    targets: list[str] | None = None,
    single: bool = False,
    downstream: bool = False,
    force: bool = False,
    overrides: dict[str, JsonValue] | None = None,
    profile: str | None = None,
) -> State[None]:
    """Bring the pipeline up to date; run only what has to run.

    A stage has to run when it changed, or when it reads from one that ran.

    Args:
        targets: Stages to bring up to date, with what they need; a matrix stage by its name or one item,
            `evaluate@sft`. Empty: all.
        single: Only the targets.
        downstream: The targets and what needs them.
        force: Run the selected stages even if nothing changed.
        overrides: Other parameters, `{"tgrpo.alpha": 0.5}`. The run ends as a DVC experiment, the checkout stays as it
            is.
        profile: A whole parameter set, `one-gpu` for profiles/one-gpu.yaml; otherwise as with overrides.
    """

    def select(stages: Sequence[Stage]) -> list[Stage]:
        return graph.select(stages, targets or [], single, downstream)

    end_with_worker()
    provide_training_slot()
    home = Path.cwd()
    try:
        if not overrides and not profile:
            return run_checkout(home, select, force)
        [(graph_run, after)] = run_experiments([Experiment(home, overrides or {}, profile)], select, force)
    except UsageError as error:
        return Failed(message=str(error))
    artifacts.publish_stages(after.stages, graph_run.results)
    artifacts.publish_metrics(dvc.snapshot(home).metrics, after.metrics)
    artifacts.publish_lineage(home, after)
    return graph_run.final_state()


@flow(name="sweep")
def sweep(
    grid: dict[str, list[JsonValue]],
    profile: str | None = None,
    parallel: Annotated[int, Field(ge=1)] = 2,
    plot: str = "",
) -> State[None]:
    """Run every combination of the parameters and compare the metrics.

    Each combination is a DVC experiment.

    Args:
        grid: The values to try, `{"tgrpo.alpha": [0.0, 0.3, 0.5]}`.
        profile: The parameter set to start from, `one-gpu` for profiles/one-gpu.yaml. Empty: params.yaml.
        parallel: How many stages run at once; of training stages one.
        plot: Draw the metrics with this in their names, `accuracy`. Empty: all.
    """
    end_with_worker()
    provide_training_slot()
    try:
        experiments = combine(Path.cwd(), grid, profile)
        results = run_experiments(experiments, list, force=False, parallel=parallel)
    except UsageError as error:
        return Failed(message=str(error))
    compared: dict[str, ExperimentResult] = {}
    failed = ""
    for one, (graph_run, after) in zip(experiments, results, strict=True):
        if graph_run.succeeded:
            compared[one.name] = ExperimentResult(one.overrides, after.metrics)
        else:
            failed += f"; {one.name}: {graph_run.summary()}"
    artifacts.publish_comparison(compared, plot)
    message = f"{len(compared)} of {len(experiments)} experiments are in `dvc exp show`{failed}"
    return Failed(message=message) if failed else Completed(message=message)


def combine(home: Path, grid: Mapping[str, Sequence[JsonValue]], profile: str | None) -> list[Experiment]:
    """An experiment for every combination of the grid's values, each once."""
    combinations = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    experiments = [Experiment(home, overrides, profile) for overrides in combinations if overrides]
    if not experiments:
        raise UsageError('the grid names no values to try; {"tgrpo.alpha": [0.0, 0.3]} tries two')
    return list({one.name: one for one in experiments}.values())


def run_checkout(home: Path, select: Select, force: bool) -> State[None]:
    """Brings the checkout up to date; a second run on it waits."""
    with hold(checkout_lock(home), run_name(), tell_waiting, mark_crashed) as lock, CommandRunner([lock]) as runner:
        before = dvc.snapshot(home)
        graph_run = GraphRun(home, before, select(before.stages), runner, force)
        wait(graph_run.start())
        after = before if graph_run.did_nothing else dvc.snapshot(home)
    artifacts.publish_stages(after.stages, graph_run.results)
    artifacts.publish_metrics(before.metrics, after.metrics)
    artifacts.publish_lineage(home, after)
    artifacts.publish_report(home, os.environ.get("VIDEO_R1_REPORT_URL"))
    return graph_run.final_state()


def run_experiments(
    experiments: Sequence[Experiment], select: Select, force: bool, parallel: int = 4
) -> list[tuple[GraphRun, Snapshot]]:
    """Runs each experiment in its worktree and records those that succeed.

    The worktree of one that fails is kept, so that the same command continues it.
    """
    with ExitStack() as stack:
        locks = []
        for path in sorted({one.lock for one in experiments}):
            locks.append(stack.enter_context(hold(path, run_name(), tell_waiting, mark_crashed)))
        runner = stack.enter_context(CommandRunner(locks, parallel))
        graph_runs = [prepare(one, select, runner, force) for one in experiments]
        futures = []
        for one, graph_run in zip(experiments, graph_runs, strict=True):
            futures += graph_run.start(one.name if len(experiments) > 1 else "")
        wait(futures)
        results = [(graph_run, dvc.snapshot(graph_run.root)) for graph_run in graph_runs]
        for one, graph_run in zip(experiments, graph_runs, strict=True):
            if graph_run.succeeded:
                experiment.save(one)
                get_run_logger().info(
                    "experiment %s is in `dvc exp show`; `dvc exp apply %s` takes it over", one.name, one.name
                )
    return results


def prepare(one: Experiment, select: Select, runner: CommandRunner, force: bool) -> GraphRun:
    """Makes the worktree of an experiment and chooses its stages.

    UsageError when the selection leaves out stages whose results it makes stale.
    """
    experiment.create(one)
    before = dvc.snapshot(one.root)
    stages = select(before.stages)
    stale = graph.with_downstream(before.stages, before.changed)
    if left_out := [stage.name for stage in before.stages if stage.name in stale and stage not in stages]:
        raise UsageError(
            f"an experiment needs all that its parameters change; the selection leaves out {', '.join(left_out)}"
        )
    return GraphRun(one.root, before, stages, runner, force)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs `pipeline` in this process; 0 when it completed.

    It uses the configured Prefect server, or a temporary one.
    """
    parser = argparse.ArgumentParser(
        "python -m flows.pipeline", description="Bring the pipeline up to date as a Prefect flow run."
    )
    parser.add_argument("targets", nargs="*", help="stages, or matrix items as evaluate@sft (default: all)")
    parser.add_argument("--single", action="store_true", help="only the targets, not what they need")
    parser.add_argument("--downstream", action="store_true", help="the targets and what needs them")
    parser.add_argument("--force", action="store_true", help="run the selected stages even if nothing changed")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="another parameter, tgrpo.alpha=0.5 (repeatable)",
    )
    parser.add_argument("--profile", help="a whole parameter set: NAME of profiles/NAME.yaml")
    options = parser.parse_args(arguments)
    overrides: dict[str, JsonValue] = {}
    for assignment in options.set:
        name, sign, value = assignment.partition("=")
        try:
            overrides[name] = experiment.parse_value(value)
        except YAMLError:
            sign = ""
        if not sign:
            parser.error(f"--set {assignment}: expected NAME=VALUE, with a value as in params.yaml")
    state = pipeline(
        options.targets,
        options.single,
        options.downstream,
        options.force,
        overrides,
        options.profile,
        return_state=True,
    )
    return 0 if state.is_completed() else 1


if __name__ == "__main__":
    sys.exit(main())

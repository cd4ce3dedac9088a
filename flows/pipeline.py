"""The flow `pipeline`: brings the pipeline up to date.

python -m flows.pipeline                           # everything that is not up to date
python -m flows.pipeline evaluate                  # a stage and what it needs
python -m flows.pipeline --set tgrpo.alpha=0.5     # other parameters: a DVC experiment, the checkout stays as it is
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.futures import wait
from prefect.states import Failed
from pydantic import JsonValue

from flows import artifacts, dvc, experiment, graph, parameters, server
from flows.checkout import checkout_lock, find_checkout
from flows.errors import UsageError, one_line
from flows.experiment import Experiment
from flows.graph import Snapshot, Stage
from flows.graph_run import GraphRun
from flows.lock import hold
from flows.process_tree import CommandRunner
from flows.runs import end_with_worker, mark_crashed, run_name, tell_waiting

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
        targets: Stages to bring up to date, with what they need; of a matrix stage all items, or
            some: `evaluate@sft`, `evaluate@sft-shapes-8`. Empty: all.
        single: Only the targets.
        downstream: The targets and what needs them.
        force: Run the selected stages even if nothing changed.
        overrides: Other parameters, `{"tgrpo.alpha": 0.5}`. The run ends as a DVC experiment, the checkout stays as it
            is.
        profile: A whole parameter set, `one-gpu` for profiles/one-gpu.yaml; otherwise as with overrides.
    """

    select = selection(targets or [], single, downstream)
    end_with_worker()
    get_run_logger().info("looking for changes and checking the parameters of all stages")
    try:
        home = find_checkout(Path.cwd())
        if not overrides and not profile:
            return run_checkout(home, select, force)
        [(graph_run, after)] = run_experiments([Experiment(home, overrides or {}, profile)], select, force)
    except UsageError as error:
        return Failed(message=str(error))
    artifacts.publish_stages(after.stages, graph_run.results)
    artifacts.publish_metrics(dvc.snapshot(home).metrics, after.metrics)
    artifacts.publish_lineage(home, after)
    return graph_run.final_state()


def selection(targets: Sequence[str], single: bool, downstream: bool) -> Select:
    """The choice of stages that the arguments of a run mean."""
    return lambda stages: graph.select(stages, targets, single, downstream)


def run_checkout(home: Path, select: Select, force: bool) -> State[None]:
    """Brings the checkout up to date; a second run on it waits."""
    with hold(checkout_lock(home), run_name(), tell_waiting, mark_crashed) as lock, CommandRunner([lock]) as runner:
        before, stages = check_checkout(home, select, force)
        graph_run = GraphRun(home, before, stages, runner, force)
        wait(graph_run.start())
        after = before if graph_run.did_nothing else dvc.snapshot(home)
    artifacts.publish_stages(after.stages, graph_run.results)
    artifacts.publish_metrics(before.metrics, after.metrics)
    artifacts.publish_lineage(home, after)
    artifacts.publish_report(home, os.environ.get("VIDEO_R1_REPORT_URL"))
    return graph_run.final_state()


def check_checkout(home: Path, select: Select, force: bool) -> tuple[Snapshot, list[Stage]]:
    """The checkout as it is, and the selected stages.

    UsageError when the selection or a parameter cannot be used.
    """
    params = (home / "params.yaml").read_text(encoding="utf-8")
    parameters.check_templates(home, params, "params.yaml")
    before = dvc.snapshot(home)
    stages = select(before.stages)
    if force or before.changed.intersection(stage.name for stage in stages):
        parameters.check_values(home, (params,), "params.yaml")
    return before, stages


def check_experiments(experiments: Sequence[Experiment]) -> None:
    """UsageError when a parameter of an experiment cannot be used."""
    for one in experiments:
        parameters.check_templates(one.home, one.params, "params.yaml")
    parameters.check_values(experiments[0].home, tuple(one.params for one in experiments), "params.yaml")


def run_experiments(
    experiments: Sequence[Experiment], select: Select, force: bool, parallel: int = 4
) -> list[tuple[GraphRun, Snapshot]]:
    """Runs each experiment in its worktree and records those that succeed.

    The worktree of one that fails is kept, so that the same command continues it. When an experiment is refused, none
    runs and no new worktree stays.
    """
    check_experiments(experiments)
    with ExitStack() as stack:
        locks = []
        for path in sorted({one.lock for one in experiments}):
            locks.append(stack.enter_context(hold(path, run_name(), tell_waiting, mark_crashed)))
        runner = stack.enter_context(CommandRunner(locks, parallel))
        graph_runs = prepare(experiments, select, runner, force)
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


def prepare(experiments: Sequence[Experiment], select: Select, runner: CommandRunner, force: bool) -> list[GraphRun]:
    """Makes the worktree of each experiment and chooses its stages.

    When one is refused, the worktrees that are new are removed again.
    """
    graph_runs: list[GraphRun] = []
    with ExitStack() as refused:
        for one in experiments:
            if not one.ready.exists():
                refused.callback(experiment.discard, one)
            experiment.create(one)
            before = dvc.snapshot(one.root)
            graph_runs.append(GraphRun(one.root, before, select_all_stale(before, select), runner, force))
        refused.pop_all()
    return graph_runs


def select_all_stale(before: Snapshot, select: Select) -> list[Stage]:
    """The selected stages of an experiment.

    UsageError when the selection leaves out stages whose results the parameters make stale.
    """
    stages = select(before.stages)
    stale = graph.with_downstream(before.stages, before.changed)
    if left_out := [stage.name for stage in before.stages if stage.name in stale and stage not in stages]:
        raise UsageError(
            f"an experiment needs all that its parameters change; the selection leaves out {', '.join(left_out)}"
        )
    return stages


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs `pipeline` in this process; 0 when it completed.

    It uses the configured Prefect server, or a temporary one.
    """
    parser = argparse.ArgumentParser(
        "python -m flows.pipeline", description="Bring the pipeline up to date as a Prefect flow run."
    )
    parser.add_argument(
        "targets",
        nargs="*",
        help="stages; of a matrix stage all items, or those of a model: evaluate@sft (default: all)",
    )
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
    with one_line("pipeline"):
        home = find_checkout(Path.cwd())
        for assignment in options.set:
            name, sign, value = assignment.partition("=")
            if not sign:
                raise UsageError(f"--set {assignment}: write NAME=VALUE, with a value as in params.yaml")
            overrides[name] = experiment.parse_value(value)
        if overrides or options.profile:  # what cannot run is refused in one line, before a server starts
            check_experiments([Experiment(home, overrides, options.profile)])
        else:
            check_checkout(home, selection(options.targets, options.single, options.downstream), options.force)
        with server.found():
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

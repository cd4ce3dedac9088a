"""The pipeline as Prefect flows: `pipeline` brings it up to date, `sweep` tries several parameters.

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
from typing import Annotated, Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.futures import wait
from prefect.states import Completed, Failed
from pydantic import Field
from ruamel.yaml import YAMLError

from flows import artifacts, dvc, experiment
from flows.dvc import Snapshot, Stage, UsageError
from flows.experiment import Experiment
from flows.graph_run import Walk, provide_training_slot
from flows.lock import hold
from flows.process_tree import Guards
from flows.runs import bury, checkout_lock, end_with_worker, run_name, tell_waiting

Select = Callable[[Sequence[Stage]], list[Stage]]


@flow(name="pipeline")
def pipeline(
    targets: list[str] | None = None,
    single: bool = False,
    downstream: bool = False,
    force: bool = False,
    overrides: dict[str, Any] | None = None,
    profile: str | None = None,
) -> State[Any]:
    """Bring the pipeline up to date: only stages that changed, or that read from one that did, are run.

    Args:
        targets: Stages to bring up to date, with what they need; a matrix stage by its name or one item, `evaluate@sft`. Empty: all.
        single: Only the targets.
        downstream: The targets and what needs them.
        force: Run the selected stages even if nothing changed.
        overrides: Other parameters, `{"tgrpo.alpha": 0.5}`. The run ends as a DVC experiment, the checkout stays as it is.
        profile: A whole parameter set, `one-gpu` for profiles/one-gpu.yaml; otherwise as with overrides.
    """

    def select(stages: Sequence[Stage]) -> list[Stage]:
        return dvc.select(stages, targets or [], single, downstream)

    end_with_worker()
    provide_training_slot()
    home = Path.cwd()
    try:
        if not overrides and not profile:
            return run_checkout(home, select, force)
        [(walk, after)] = run_experiments([Experiment(home, overrides or {}, profile)], select, force)
    except UsageError as error:
        return Failed(message=str(error))
    artifacts.publish_stages(after.stages, walk.outcomes)
    artifacts.publish_metrics(dvc.snapshot(home).metrics, after.metrics)
    artifacts.publish_lineage(home, after)
    return final_state(walk)


@flow(name="sweep")
def sweep(
    grid: dict[str, list[Any]], profile: str | None = None, parallel: Annotated[int, Field(ge=1)] = 2, plot: str = ""
) -> State[Any]:
    """Run every combination of the parameters, each as a DVC experiment, and compare their metrics.

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
    compared = {
        one.name: (one.overrides, after.metrics)
        for one, (walk, after) in zip(experiments, results, strict=True)
        if walk.succeeded
    }
    artifacts.publish_comparison(compared, plot)
    failed = "".join(
        f"; {one.name}: {walk.summary()}"
        for one, (walk, _) in zip(experiments, results, strict=True)
        if not walk.succeeded
    )
    message = f"{len(compared)} of {len(experiments)} experiments are in `dvc exp show`{failed}"
    return Failed(message=message) if failed else Completed(message=message)


def combine(home: Path, grid: Mapping[str, Sequence[Any]], profile: str | None) -> list[Experiment]:
    """An experiment for every combination of the grid's values; a combination that comes twice is one."""
    combinations = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    experiments = [Experiment(home, overrides, profile) for overrides in combinations if overrides]
    if not experiments:
        raise UsageError('the grid names no values to try; {"tgrpo.alpha": [0.0, 0.3]} tries two')
    return list({one.name: one for one in experiments}.values())


def run_checkout(home: Path, select: Select, force: bool) -> State[Any]:
    """Walks the checkout itself; a second run on it waits for the first."""
    with hold(checkout_lock(home), run_name(), tell_waiting, bury) as lock, Guards([lock]) as guards:
        before = dvc.snapshot(home)
        walk = Walk(home, before, select(before.stages), guards, force)
        wait(walk.start())
        after = before if walk.did_nothing else dvc.snapshot(home)
    artifacts.publish_stages(after.stages, walk.outcomes)
    artifacts.publish_metrics(before.metrics, after.metrics)
    artifacts.publish_lineage(home, after)
    artifacts.publish_report(home, os.environ.get("VIDEO_R1_REPORT_URL"))
    return final_state(walk)


def run_experiments(
    experiments: Sequence[Experiment], select: Select, force: bool, parallel: int = 4
) -> list[tuple[Walk, Snapshot]]:
    """Walks the worktree of each experiment and records those that succeed; one that fails keeps its worktree, to be continued."""
    with ExitStack() as stack:
        locks = [
            stack.enter_context(hold(path, run_name(), tell_waiting, bury))
            for path in sorted({one.lock for one in experiments})
        ]
        guards = stack.enter_context(Guards(locks, parallel))
        walks = [prepare(one, select, guards, force) for one in experiments]
        labels = [one.name if len(experiments) > 1 else "" for one in experiments]
        wait([future for walk, label in zip(walks, labels, strict=True) for future in walk.start(label)])
        results = [(walk, dvc.snapshot(walk.root)) for walk in walks]
        for one, walk in zip(experiments, walks, strict=True):
            if walk.succeeded:
                experiment.save(one)
                get_run_logger().info(
                    "experiment %s is in `dvc exp show`; `dvc exp apply %s` takes it over", one.name, one.name
                )
    return results


def prepare(one: Experiment, select: Select, guards: Guards, force: bool) -> Walk:
    """Makes an experiment's worktree and its walk. `UsageError` if the selection leaves out stages whose results it makes stale."""
    experiment.create(one)
    before = dvc.snapshot(one.root)
    stages = select(before.stages)
    stale = dvc.select(before.stages, sorted(before.changed), single=False, downstream=True) if before.changed else []
    if left_out := [stage.name for stage in stale if stage not in stages]:
        raise UsageError(
            f"an experiment needs all that its parameters change; the selection leaves out {', '.join(left_out)}"
        )
    return Walk(one.root, before, stages, guards, force)


def final_state(walk: Walk) -> State[Any]:
    """The flow's state, with what the stages did."""
    return Completed(message=walk.summary()) if walk.succeeded else Failed(message=walk.summary())


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs `pipeline` in this process, on the configured Prefect server or a temporary one; 0 if it completed."""
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
    overrides = {}
    for assignment in options.set:
        name, sign, value = assignment.partition("=")
        try:
            overrides[name] = experiment.parse_value(value)
        except YAMLError:
            sign = ""
        if not sign:
            parser.error(f"--set {assignment}: expected NAME=VALUE, with a value as in params.yaml")
    state: State[Any] = pipeline(
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

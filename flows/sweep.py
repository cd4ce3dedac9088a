"""The flow `sweep`: tries several parameters and compares the results.

python -m flows.sweep tgrpo.alpha=0.0,0.3,0.5 tgrpo.seed=1,2
"""

import argparse
import itertools
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from pydantic import Field, JsonValue

from flows import artifacts, server
from flows.artifacts import ExperimentResult
from flows.checkout import find_checkout
from flows.errors import UsageError, one_line
from flows.experiment import Experiment, parse_value
from flows.pipeline import check_experiments, run_experiments
from flows.runs import end_with_worker


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
    try:
        experiments = combine(find_checkout(Path.cwd()), grid, profile)
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs `sweep` in this process; 0 when all experiments completed.

    It uses the configured Prefect server, or a temporary one.
    """
    parser = argparse.ArgumentParser("python -m flows.sweep", description="Try parameters and compare the results.")
    parser.add_argument("grid", nargs="+", metavar="NAME=VALUE,VALUE", help="values to try: tgrpo.alpha=0.0,0.3")
    parser.add_argument("--profile", help="the parameter set to start from: NAME of profiles/NAME.yaml")
    parser.add_argument("--parallel", type=int, default=2, help="stages that run at once (default: %(default)s)")
    parser.add_argument("--plot", default="", help="draw the metrics with this in their names (default: all)")
    options = parser.parse_args(arguments)
    with one_line("sweep"):
        grid = dict(parse_values(assignment) for assignment in options.grid)
        check_experiments(combine(find_checkout(Path.cwd()), grid, options.profile))
        with server.found():
            state = sweep(grid, options.profile, options.parallel, options.plot, return_state=True)
    return 0 if state.is_completed() else 1


def parse_values(assignment: str) -> tuple[str, list[JsonValue]]:
    """`tgrpo.alpha=0.0,0.3` as the parameter's name and its values."""
    name, sign, values = assignment.partition("=")
    parsed = parse_value(f"[{values}]")
    if not sign or not isinstance(parsed, list):
        raise UsageError(f"{assignment}: write NAME=VALUE,VALUE, with values as in params.yaml")
    return name, parsed


if __name__ == "__main__":
    sys.exit(main())

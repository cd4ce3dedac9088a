"""What a run shows in the Prefect UI: its stages, how the metrics moved and where they come from, the report, how experiments compare."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect.artifacts import create_image_artifact, create_link_artifact, create_table_artifact

from flows.chart import draw
from flows.dvc import Outcome, Snapshot, Stage
from flows.lineage import commits, lineage_rows, parameter_rows

REPORT = Path("report") / "index.html"
CHARTS = 24  # in one picture


def publish_stages(stages: Sequence[Stage], outcomes: Mapping[str, Outcome]) -> None:
    """State, duration and output hashes of every stage of the run, in dvc.yaml's order."""
    rows = [stage_row(stage, outcomes[stage.name]) for stage in stages if stage.name in outcomes]
    create_table_artifact(rows, key="stages", description="The stages of this run; hashes as in dvc.lock.")


def stage_row(stage: Stage, outcome: Outcome) -> dict[str, Any]:
    """One row of the stage table. A failed stage has no outputs of its own."""
    hashes = {} if outcome.state == "Failed" else stage.outs
    outputs = ", ".join(f"{path} {value[:8]}" for path, value in hashes.items())
    return {"stage": stage.name, "state": outcome.state, "seconds": round(outcome.seconds, 1), "outputs": outputs}


def publish_metrics(before: Mapping[str, float], after: Mapping[str, float]) -> None:
    """Every metric as this run left it, with the difference to what the checkout had before."""
    create_table_artifact(
        metric_rows(before, after),
        key="metrics",
        description="What moved comes first; *change* is against the last run.",
    )


def metric_rows(before: Mapping[str, float], after: Mapping[str, float]) -> list[dict[str, Any]]:
    """One row per metric: those that moved first, and evaluations before what led to them."""
    rows = [metric_row(name, before.get(name), after[name]) for name in evaluations_first(list(after))]
    return sorted(rows, key=lambda row: row["change"] == "=")


def evaluations_first(names: Sequence[str]) -> list[str]:
    """Metrics of the last file first: files stand in the stages' order, which ends with the evaluations."""
    files = list(dict.fromkeys(name.partition(":")[0] for name in reversed(names)))
    return sorted(names, key=lambda name: files.index(name.partition(":")[0]))


def metric_row(name: str, before: float | None, after: float) -> dict[str, Any]:
    """One row of the metrics table; a metric that is new has no change."""
    file, _, metric = name.partition(":")
    change = "" if before is None else f"{after - before:+.6g}" if after != before else "="
    return {"file": file, "metric": metric, "value": after, "change": change}


def publish_lineage(root: Path, now: Snapshot) -> None:
    """The evaluations' numbers back to data, parameters and commit, and the parameters by their hashes."""
    if rows := lineage_rows(now, commits(root, now.stages)):
        create_table_artifact(
            rows, key="lineage", description="What each evaluation rests on; hashes as in dvc.lock and in *parameters*."
        )
        create_table_artifact(
            parameter_rows(now.stages), key="parameters", description="The values that the artifacts were made with."
        )


def publish_report(root: Path, url: str | None) -> None:
    """A link to the report, if the checkout has one: `url` where a server shows it, otherwise the file."""
    if (root / REPORT).exists():
        create_link_artifact(
            url or (root / REPORT).as_uri(), key="report", link_text="report", description="Open the report."
        )


def publish_comparison(experiments: Mapping[str, tuple[Mapping[str, Any], Mapping[str, float]]], plot: str) -> None:
    """A table of a sweep's experiments, name → (parameters, metrics), and a picture of the metrics with `plot` in their names."""
    moved = moved_metrics([metrics for _, metrics in experiments.values()])
    drawn = [name for name in moved if plot in name]
    missing = "" if drawn else f" None named *{plot}* differs: there is nothing to draw."
    rows = comparison_rows(experiments, moved)
    create_table_artifact(
        rows, key="sweep", description=f"A column per experiment. Metrics that are equal in all are left out.{missing}"
    )
    if drawn:
        parameters = ", ".join(next(iter(experiments.values()))[0])
        labels = [" ".join(map(str, params.values())) for params, _ in experiments.values()]
        values = {name: [metrics.get(name) for _, metrics in experiments.values()] for name in drawn[:CHARTS]}
        picture = base64.b64encode(draw(parameters, labels, values).encode()).decode()
        told = f"{len(values)} of {len(drawn)} metrics{f' named *{plot}*' if plot else ''}, evaluations first."
        create_image_artifact(f"data:image/svg+xml;base64,{picture}", key="sweep-plot", description=told)


def moved_metrics(measured: Sequence[Mapping[str, float]]) -> list[str]:
    """The metrics that are not the same in all experiments, evaluations first."""
    names = dict.fromkeys(name for metrics in measured for name in metrics)
    return evaluations_first([name for name in names if len({metrics.get(name) for metrics in measured}) > 1])


def comparison_rows(
    experiments: Mapping[str, tuple[Mapping[str, Any], Mapping[str, float]]], metrics: Sequence[str]
) -> list[dict[str, Any]]:
    """One row per parameter, then one per metric; a column per experiment, empty where it lacks the metric."""
    parameters = dict.fromkeys(name for params, _ in experiments.values() for name in params)
    rows = [
        {"file": "params.yaml", "name": name, **{key: params[name] for key, (params, _) in experiments.items()}}
        for name in parameters
    ]
    for metric in metrics:
        file, _, name = metric.partition(":")
        rows.append(
            {"file": file, "name": name, **{key: found.get(metric, "") for key, (_, found) in experiments.items()}}
        )
    return rows

"""The artifacts that a run shows in the Prefect UI.

They are its stages, how the metrics moved and where they come from, the report, and how the experiments of a sweep
compare.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from prefect.artifacts import create_image_artifact, create_link_artifact, create_table_artifact
from pydantic import JsonValue

from flows.chart import draw
from flows.graph import Snapshot, Stage, StageResult
from flows.lineage import commits, lineage_rows, parameter_rows

REPORT = Path("report") / "index.html"
CHARTS = 24  # in one picture


class StageRow(TypedDict):
    """A row of the table *stages*."""

    stage: str
    state: str
    seconds: float
    outputs: str


class MetricRow(TypedDict):
    """A row of the table *metrics*."""

    metric: str
    value: float
    change: str
    file: str


@dataclass(frozen=True)
class ExperimentResult:
    """The parameters that an experiment of a sweep changed, and its metrics."""

    overrides: Mapping[str, JsonValue]
    metrics: Mapping[str, float]


def publish_table(rows: Sequence[Mapping[str, object]], key: str, description: str) -> None:
    """Publishes rows as the table `key` of the run."""
    create_table_artifact([dict(row) for row in rows], key=key, description=description)


def publish_stages(stages: Sequence[Stage], results: Mapping[str, StageResult]) -> None:
    """The table *stages*, in dvc.yaml's order."""
    rows = [stage_row(stage, results[stage.name]) for stage in stages if stage.name in results]
    publish_table(rows, key="stages", description="The stages of this run; hashes as in dvc.lock.")


def stage_row(stage: Stage, result: StageResult) -> StageRow:
    """The row of a stage; a failed stage has no outputs."""
    hashes = {} if result.state == "Failed" else stage.outs
    outputs = ", ".join(f"{path} {value[:8]}" for path, value in hashes.items())
    return {"stage": stage.name, "state": result.state, "seconds": round(result.seconds, 1), "outputs": outputs}


def publish_metrics(before: Mapping[str, float], after: Mapping[str, float]) -> None:
    """The table *metrics*: every number, and how it moved."""
    publish_table(
        metric_rows(before, after),
        key="metrics",
        description="What moved comes first; *change* is against the last run.",
    )


def metric_rows(before: Mapping[str, float], after: Mapping[str, float]) -> list[MetricRow]:
    """One row per metric: first what moved, and evaluations before the rest."""
    rows = [metric_row(name, before.get(name), after[name]) for name in evaluations_first(list(after))]
    return sorted(rows, key=lambda row: row["change"] == "=")


def evaluations_first(names: Sequence[str]) -> list[str]:
    """The metrics of the last file first.

    Files stand in the order of the stages, and evaluations come last among these.
    """
    files = list(dict.fromkeys(name.partition(":")[0] for name in reversed(names)))
    return sorted(names, key=lambda name: files.index(name.partition(":")[0]))


def metric_row(name: str, before: float | None, after: float) -> MetricRow:
    """One row of the table *metrics*; a new metric has no change."""
    file, _, metric = name.partition(":")
    change = ""
    if before is not None:
        change = f"{after - before:+.6g}" if after != before else "="
    return {"metric": metric, "value": after, "change": change, "file": file}


def publish_lineage(root: Path, now: Snapshot) -> None:
    """The tables *lineage* and *parameters*, once there is an evaluation."""
    if rows := lineage_rows(now, commits(root, now.stages)):
        publish_table(
            rows, key="lineage", description="What each evaluation rests on; hashes as in dvc.lock and in *parameters*."
        )
        publish_table(
            parameter_rows(now.stages), key="parameters", description="The values that the artifacts were made with."
        )


def publish_report(root: Path, url: str | None) -> None:
    """A link to the report, if there is one.

    It leads to `url`, or without `url` to the file.
    """
    if (root / REPORT).exists():
        create_link_artifact(
            url or (root / REPORT).as_uri(), key="report", link_text="report", description="Open the report."
        )


def publish_comparison(experiments: Mapping[str, ExperimentResult], plot: str) -> None:
    """The tables and pictures that compare a sweep's experiments.

    The picture shows the metrics with `plot` in their names.
    """
    moved = moved_metrics([one.metrics for one in experiments.values()])
    drawn = [name for name in moved if plot in name]
    missing = "" if drawn else f" None named *{plot}* differs: there is nothing to draw."
    rows = comparison_rows(experiments, moved)
    publish_table(
        rows, key="sweep", description=f"A column per experiment. Metrics that are equal in all are left out.{missing}"
    )
    if drawn:
        shown = f"{min(len(drawn), CHARTS)} of {len(drawn)} metrics{f' named *{plot}*' if plot else ''}"
        picture = base64.b64encode(draw_comparison(experiments, drawn[:CHARTS]).encode()).decode()
        description = f"{shown}, evaluations first."
        create_image_artifact(f"data:image/svg+xml;base64,{picture}", key="sweep-plot", description=description)


def draw_comparison(experiments: Mapping[str, ExperimentResult], metrics: Sequence[str]) -> str:
    """An SVG with a chart per metric, labelled with the overridden values."""
    results = list(experiments.values())
    labels = [" ".join(str(value) for value in one.overrides.values()) for one in results]
    values = {name: [one.metrics.get(name) for one in results] for name in metrics}
    return draw(", ".join(results[0].overrides), labels, values)


def moved_metrics(measured: Sequence[Mapping[str, float]]) -> list[str]:
    """The metrics that differ between experiments, evaluations first."""
    names = dict.fromkeys(name for metrics in measured for name in metrics)
    return evaluations_first([name for name in names if len({metrics.get(name) for metrics in measured}) > 1])


def comparison_rows(experiments: Mapping[str, ExperimentResult], metrics: Sequence[str]) -> list[dict[str, JsonValue]]:
    """One row per parameter, then one per metric; a column per experiment.

    The field is empty where an experiment lacks the metric.
    """
    rows: list[dict[str, JsonValue]] = []
    for parameter in dict.fromkeys(name for one in experiments.values() for name in one.overrides):
        row: dict[str, JsonValue] = {"name": parameter}
        row |= {key: one.overrides[parameter] for key, one in experiments.items()}
        rows.append(row | {"file": "params.yaml"})
    for metric in metrics:
        file, _, name = metric.partition(":")
        row = {"name": name}
        row |= {key: one.metrics.get(metric, "") for key, one in experiments.items()}
        rows.append(row | {"file": file})
    return rows

"""The charts of the training curves."""

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from stages.reporting.charts import Series, line_chart

# Title of a chart: the columns that it shows, and their names in the legend.
LOG_SCALE = "Loss per token, log scale"
SFT_CURVES = {LOG_SCALE: {"loss": "loss"}}
TGRPO_CURVES = {
    "Reward": {"reward": "reward"},
    "Share of correct responses": {"p": "in order", "p_contrast": "shuffled"},
    "Response length, tokens": {"completion_tokens": "tokens"},
    "KL to the SFT model": {"kl": "KL"},
    "Share of questions that meet the temporal condition": {"condition_rate": "share"},
    "Share of groups with equal rewards (no signal)": {"zero_variance": "share"},
    "Effect of the temporal reward on the advantages": {"temporal_effect": "effect"},
    "Entropy, nats": {"entropy": "nats"},
}


@dataclass(frozen=True)
class CurveChart:
    """A drawn chart.

    `legend` holds (CSS class, name) of its series. It is empty for one series.
    """

    title: str
    svg: Markup
    legend: list[tuple[str, str]]


def curve_charts(path: Path, curves: Mapping[str, Mapping[str, str]]) -> list[CurveChart]:
    """The charts of `curves` for which the CSV file has finite values."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    charts = []
    for title, columns in curves.items():
        series = [
            Series(name, [float(row["step"]) for row in rows], [_number(row.get(column)) for row in rows], style)
            for (column, name), style in zip(columns.items(), ("main", "other"), strict=False)
        ]
        if svg := line_chart(title, series, log_scale=title == LOG_SCALE):
            legend = [(line.style, line.name) for line in series] if len(series) > 1 else []
            charts.append(CurveChart(title, svg, legend))
    return charts


def _number(text: str | None) -> float:
    return float(text) if text else math.nan

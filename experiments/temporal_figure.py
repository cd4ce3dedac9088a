"""Draws what each temporal reward adds to GRPO, as an SVG.

    python -m experiments.temporal_figure [FILE]

It reads experiments/temporal.jsonl and experiments/conditions.jsonl and writes FILE (default:
docs/images/temporal.svg): one panel for each place of the shortcut, one dot for each arm.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from experiments.evidence import PROJECT, interval
from experiments.runs import finished
from experiments.temporal_rows import Place, Row
from experiments.temporal_table import differences, measured

PANELS: Mapping[Place, str] = {"rl": "Shortcut in RL", "both": "Shortcut in SFT and RL", "none": "No shortcut"}
ARMS: Mapping[str, str] = {
    "likelihood": "likelihood, α 2",
    "likelihood, α 0.5": "likelihood, α 0.5",
    "answer": "answer, α 2",
    "thought": "thought, α 2",
    "tokens": "tokens",
    "relation": "relation",
    "paper": "paper",
}
LOW, HIGH, TICK = -15, 30, 15  # points
NAMES, PANEL, GAP, TOP, LINE = 140, 150, 44, 46, 24  # pixels


def read() -> list[Row]:
    """The finished runs of both experiments."""
    return [row for name in ("temporal", "conditions") for row in finished(PROJECT / "experiments" / f"{name}.jsonl")]


def across(points: float) -> float:
    """Pixels from a panel's left edge.

    A value beyond the axis is drawn at its end.
    """
    return PANEL * (min(max(points, LOW), HIGH) - LOW) / (HIGH - LOW)


def panel(title: str, found: Mapping[str, Sequence[float]]) -> list[str]:
    """The parts of one panel.

    It has an axis, and a dot with its 95 % interval for each arm that has runs.
    """
    bottom = TOP + LINE * len(ARMS)
    parts = [f'<text class="title" x="0" y="18">{escape(title)}</text>']
    for tick in range(LOW, HIGH + 1, TICK):
        x, style = across(tick), "grid" if tick else "zero"
        signed = f"{tick:+d}".replace("-", "−") if tick else "0"
        parts.append(f'<line class="{style}" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 10}" y2="{bottom - 6}"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="{bottom + 10}">{signed}</text>')
    for index, arm in enumerate(ARMS):
        if arm in found:
            y, (mean, half) = TOP + LINE * index, interval(found[arm])
            ends = [across(mean - (half or 0)), across(mean + (half or 0))]
            parts.append(f'<line class="interval" x1="{ends[0]:.1f}" x2="{ends[1]:.1f}" y1="{y}" y2="{y}"/>')
            parts.append(f'<circle cx="{across(mean):.1f}" cy="{y}" r="4.5"><title>{mean:+.1f}</title></circle>')
    return parts


def figure(rows: Sequence[Row]) -> str:
    """The whole SVG."""
    width, height = NAMES + len(PANELS) * (PANEL + GAP), TOP + LINE * len(ARMS) + 36
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">',
        "<style>text{font:12px sans-serif}.title{font-weight:bold}"
        ".tick{text-anchor:middle;fill:#666}.grid{stroke:#ddd}.zero{stroke:#555}"
        ".interval{stroke:#2563eb;stroke-width:2}circle{fill:#2563eb}</style>",
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        *(f'<text x="8" y="{TOP + LINE * i + 4}">{escape(name)}</text>' for i, name in enumerate(ARMS.values())),
    ]
    for index, (place, title) in enumerate(PANELS.items()):
        found = differences(measured([row for row in rows if row["place"] == place]))
        parts += [f'<g transform="translate({NAMES + index * (PANEL + GAP)} 0)">', *panel(title, found), "</g>"]
    caption = "points of temporal accuracy beyond GRPO, mean and 95 % interval over pairs of runs"
    return "\n".join([*parts, f'<text x="{NAMES}" y="{height - 6}" fill="#666">{caption}</text>', "</svg>", ""])


def main() -> None:
    """Draw the figure and say where it is."""
    parser = argparse.ArgumentParser(description="What each temporal reward adds to GRPO, as an SVG.")
    parser.add_argument("file", type=Path, nargs="?", default=PROJECT / "docs" / "images" / "temporal.svg")
    chosen = parser.parse_args()
    rows = read()
    chosen.file.write_text(figure(rows), encoding="utf-8")
    sys.stdout.write(f"wrote {chosen.file} from {len(rows)} runs\n")


if __name__ == "__main__":
    main()

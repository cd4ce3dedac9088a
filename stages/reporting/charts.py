"""Small charts as inline SVG; the page's style sheet gives the colours."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from stages.evaluation.statistics import Estimate

WIDTH, HEIGHT = 340, 150
LEFT, RIGHT, TOP, BOTTOM = 42, 8, 10, 22
WIDE, NAMES, SERIES = 560, 190, 9  # an interval chart: its width, the width of its names, the height of one estimate


@dataclass(frozen=True)
class Series:
    """One curve: values over steps.

    A value that is not finite is left out. `style` is its CSS class, "main" or "other".
    """

    name: str
    steps: Sequence[float]
    values: Sequence[float]
    style: str = "main"

    @property
    def points(self) -> list[tuple[float, float]]:
        """(step, value) of the finite values."""
        return [(x, y) for x, y in zip(self.steps, self.values, strict=True) if math.isfinite(y)]


def line_chart(title: str, series: Sequence[Series]) -> Markup:
    """Each series as a thin line, and its running mean in bold.

    The chart is empty without a finite value.
    """
    points = [point for line in series for point in line.points]
    if not points:
        return Markup("")
    ticks = nice_ticks(min(y for _, y in points), max(y for _, y in points))
    x_low, x_high = min(x for x, _ in points), max(x for x, _ in points)

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - x_low) / (x_high - x_low) if x_high > x_low else 0.5
        up = (y - ticks[0]) / (ticks[-1] - ticks[0])
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">']
    for tick in ticks:
        y = place(x_low, tick)[1]
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{tick:.6g}</text>')
    for x, anchor in ((x_low, "start"), (x_high, "end")):
        parts.append(
            f'<text class="tick" x="{place(x, ticks[0])[0]:.1f}" y="{HEIGHT - 6}" text-anchor="{anchor}">{x:.6g}</text>'
        )
    for line in series:
        for width, drawn in (("raw", line.points), ("mean", running_mean(line.points))):
            path = " ".join("{:.1f},{:.1f}".format(*place(x, y)) for x, y in drawn)
            parts.append(f'<polyline class="{width} {line.style}" points="{path}"/>')
    return Markup("".join([*parts, "</svg>"]))


def interval_chart(title: str, rows: Mapping[str, Sequence[Estimate | None]], styles: Sequence[str]) -> Markup:
    """One dot with its interval for each estimate, in percent.

    The chart is empty without an estimate. Each row holds one estimate per series, and `styles` are the CSS classes of
    the series. The axis ends at round numbers, and a line marks zero.
    """
    estimates = [estimate for row in rows.values() for estimate in row if estimate]
    if not estimates:
        return Markup("")
    ticks = nice_ticks(100 * min(0.0, *(each.low for each in estimates)), 100 * max(each.high for each in estimates))
    pitch = SERIES * max(len(row) for row in rows.values()) + 8
    bottom = TOP + pitch * len(rows)

    def across(value: float) -> float:
        return NAMES + (value - ticks[0]) / (ticks[-1] - ticks[0]) * (WIDE - NAMES - 2 * RIGHT)

    parts = [f'<svg viewBox="0 0 {WIDE} {bottom + BOTTOM}" role="img" aria-label="{escape(title)}">']
    for tick in ticks:
        x = across(tick)
        parts.append(
            f'<line class="{"zero" if tick == 0 else "grid"}" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 4}" y2="{bottom}"/>'
        )
        parts.append(f'<text class="tick" x="{x:.1f}" y="{bottom + 14}" text-anchor="middle">{tick:.6g}</text>')
    for number, (name, row) in enumerate(rows.items()):
        top = TOP + number * pitch
        parts.append(
            f'<text class="tick" x="{NAMES - 12}" y="{top + pitch / 2:.1f}" text-anchor="end">{escape(name)}</text>'
        )
        for index, (style, estimate) in enumerate(zip(styles, row, strict=True)):
            if estimate:
                y, low, high = top + SERIES * (index + 0.5), across(100 * estimate.low), across(100 * estimate.high)
                parts.append(f'<line class="span {style}" x1="{low:.1f}" x2="{high:.1f}" y1="{y}" y2="{y}"/>')
                parts.append(f'<circle class="{style}" cx="{across(100 * estimate.value):.1f}" cy="{y}" r="3"/>')
    return Markup("".join([*parts, "</svg>"]))


def running_mean(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The mean around each point.

    The window is a tenth of the points. The window shrinks towards both ends.
    """
    half = len(points) // 20
    means = []
    for index, (x, _) in enumerate(points):
        reach = min(half, index, len(points) - 1 - index)
        around = points[index - reach : index + reach + 1]
        means.append((x, sum(y for _, y in around) / len(around)))
    return means


def nice_ticks(low: float, high: float) -> list[float]:
    """Three to five round numbers that enclose [low, high]."""
    if high - low < 1e-12:
        low, high = low - (abs(low) or 1) * 0.5, high + (abs(high) or 1) * 0.5
    rough = (high - low) / 3
    magnitude = 10 ** math.floor(math.log10(rough))
    step = next(factor * magnitude for factor in (1, 2, 2.5, 5, 10) if factor * magnitude >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]

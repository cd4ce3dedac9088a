"""Small charts: curves over training steps, and estimates with their intervals."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from stages.evaluation.statistics import Estimate

WIDTH, HEIGHT = 340, 150
LEFT, RIGHT, TOP, BOTTOM = 42, 8, 10, 22

Point = tuple[float, float]


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
    def points(self) -> list[Point]:
        """(step, value) of the finite values."""
        return [(x, y) for x, y in zip(self.steps, self.values, strict=True) if math.isfinite(y)]


@dataclass(frozen=True)
class Dot:
    """One estimate in a chart.

    `place`, `low` and `width` are in percent of the axis. `style` is its CSS class, `text` its value in words.
    """

    style: str
    place: float
    low: float
    width: float
    text: str


@dataclass(frozen=True)
class IntervalChart:
    """Estimates in rows over one axis.

    `ticks` are (place in percent of the axis, text). `zero` is the place of 0.
    """

    title: str
    ticks: list[tuple[float, str]]
    zero: float
    rows: list[tuple[str, list[Dot | None]]]


def line_chart(title: str, series: Sequence[Series], log_scale: bool = False) -> Markup:
    """Each series as a thin line, and its running mean in bold.

    The chart is empty without a finite value. A logarithmic axis has a tick for each power of ten, and leaves out
    values that are not positive.
    """
    height = math.log10 if log_scale else float
    shown = [[(x, y) for x, y in line.points if y > 0 or not log_scale] for line in series]
    every_point = [point for points in shown for point in points]
    if not every_point:
        return Markup("")
    heights = [height(y) for _, y in every_point]
    ticks = decades(min(heights), max(heights)) if log_scale else nice_ticks(min(heights), max(heights))
    x_low, x_high = min(x for x, _ in every_point), max(x for x, _ in every_point)

    def place(x: float, y: float) -> Point:
        across = (x - x_low) / (x_high - x_low) if x_high > x_low else 0.5
        up = (y - ticks[0]) / (ticks[-1] - ticks[0])
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    drawn = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">']
    drawn += [_grid_line(10**tick if log_scale else tick, place(x_low, tick)[1]) for tick in ticks]
    drawn += [_step_label(x_low, LEFT, "start"), _step_label(x_high, WIDTH - RIGHT, "end")]
    for line, points in zip(series, shown, strict=True):
        for width, curve in (("raw", points), ("mean", running_mean(points))):
            path = " ".join("{:.1f},{:.1f}".format(*place(x, height(y))) for x, y in curve)
            drawn.append(f'<polyline class="{width} {line.style}" points="{path}"/>')
    return Markup("".join([*drawn, "</svg>"]))


def interval_chart(
    title: str, rows: Mapping[str, Sequence[Estimate | None]], styles: Sequence[str]
) -> IntervalChart | None:
    """One dot with its interval for each estimate, in percent.

    None without an estimate. Each row holds one estimate per series, and `styles` are the CSS classes of the series.
    The axis holds 0 and ends at round numbers.
    """
    estimates = [estimate for row in rows.values() for estimate in row if estimate]
    if not estimates:
        return None
    low, high = min(0.0, *(each.low for each in estimates)), max(0.0, *(each.high for each in estimates))
    ticks = nice_ticks(100 * low, 100 * high)

    def place(percent: float) -> float:
        return round(100 * (percent - ticks[0]) / (ticks[-1] - ticks[0]), 2)

    def dot(style: str, estimate: Estimate | None) -> Dot | None:
        if estimate is None:
            return None
        left, right = place(100 * estimate.low), place(100 * estimate.high)
        text = f"{100 * estimate.value:.1f} ({100 * estimate.low:.1f} to {100 * estimate.high:.1f})"
        return Dot(style, place(100 * estimate.value), left, round(right - left, 2), text.replace("-", "−"))

    return IntervalChart(
        title,
        [(place(tick), tick_text(tick)) for tick in ticks],
        place(0),
        [(name, [dot(*pair) for pair in zip(styles, row, strict=True)]) for name, row in rows.items()],
    )


def running_mean(points: Sequence[Point]) -> list[Point]:
    """The mean around each point that has its whole window.

    The window is a tenth of the points. Near both ends there is no mean, because a smaller window would be noisier.
    """
    reach = len(points) // 20
    means = []
    for index in range(reach, len(points) - reach):
        window = points[index - reach : index + reach + 1]
        means.append((points[index][0], sum(y for _, y in window) / len(window)))
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


def decades(low: float, high: float) -> list[float]:
    """At least two whole numbers that enclose [low, high]: powers of ten."""
    first = math.floor(low + 1e-9)
    last = max(first + 1, math.ceil(high - 1e-9))
    return [float(power) for power in range(first, last + 1)]


def tick_text(tick: float) -> str:
    """A tick's number, with a typeset minus sign."""
    return f"{tick:.6g}".replace("-", "−")


def _grid_line(tick: float, y: float) -> str:
    line = f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
    return line + f'<text class="tick" x="{LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{tick_text(tick)}</text>'


def _step_label(step: float, x: float, anchor: str) -> str:
    return f'<text class="tick" x="{x:.1f}" y="{HEIGHT - 6}" text-anchor="{anchor}">{step:.6g}</text>'

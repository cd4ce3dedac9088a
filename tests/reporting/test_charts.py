"""Line charts: round ticks, running means and gaps."""

import math
import re

import pytest

from stages.evaluation.statistics import Estimate
from stages.reporting.charts import Series, interval_chart, line_chart, nice_ticks, running_mean


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1.0, [0, 0.5, 1]),
        (0.12, 0.19, [0.1, 0.125, 0.15, 0.175, 0.2]),
        (28, 41, [25, 30, 35, 40, 45]),
        (2.0, 2.0, [1, 2, 3]),
        (0.0, 0.0, [-0.5, 0, 0.5]),
        (-3.0, 300.0, [-200, 0, 200, 400]),
    ],
)
def test_ticks_are_round_and_enclose_the_values(low: float, high: float, expected: list[float]) -> None:
    assert nice_ticks(low, high) == pytest.approx(expected)


def test_the_running_mean_keeps_a_straight_line_and_both_ends() -> None:
    points = [(float(x), 2.0 * x) for x in range(60)]
    smooth = running_mean(points)
    assert [x for x, _ in smooth] == [x for x, _ in points]
    assert [y for _, y in smooth] == pytest.approx([y for _, y in points])


def test_the_running_mean_smooths() -> None:
    points = [(float(x), float(x % 2)) for x in range(60)]
    middle = [y for _, y in running_mean(points)[5:-5]]
    assert max(middle) - min(middle) < 0.2


def test_values_that_are_not_finite_are_left_out_and_nothing_else_is() -> None:
    svg = line_chart("KL", [Series("kl", [1, 2, 3], [0.5, math.nan, 1.0])])
    drawn = re.findall(r'points="([^"]*)"', svg)
    assert [len(points.split()) for points in drawn] == [2, 2]
    assert line_chart("KL", [Series("kl", [1, 2], [math.nan, math.inf])]) == ""


def test_a_title_is_escaped() -> None:
    assert "<b>" not in line_chart("<b>", [Series("x", [1, 2], [0, 1])])


def test_an_interval_chart_has_a_dot_and_a_span_per_estimate_on_an_axis_with_zero() -> None:
    found = Estimate(0.2, 0.1, 0.3, 50)
    rows = {"direction & order": [found, None], "colour": [Estimate(0.0, -0.1, 0.1, 50), found]}
    svg = interval_chart("gap <1>", rows, ["shuffled", "single-frame"])
    dots = [(circle[0], float(circle[1])) for circle in re.findall(r'<circle class="([\w-]+)" cx="([\d.]+)"', svg)]
    assert [style for style, _ in dots] == ["shuffled", "shuffled", "single-frame"]
    assert dots[0][1] == dots[2][1] > dots[1][1]
    (zero,) = re.findall(r'class="zero" x1="([\d.]+)"', svg)
    assert float(zero) == dots[1][1]
    assert [float(tick) for tick in re.findall(r'text-anchor="middle">([-\d.]+)<', svg)] == [-20, 0, 20, 40]
    assert "direction &amp; order" in svg
    assert "gap &lt;1&gt;" in svg
    assert interval_chart("nothing", {"direction": [None]}, ["s0"]) == ""

"""Line charts: round ticks, running means and gaps."""

import math
import re

import pytest

from stages.evaluation.statistics import Estimate
from stages.reporting.charts import Dot, Series, decades, interval_chart, line_chart, nice_ticks, running_mean


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


def test_the_running_mean_has_its_whole_window_everywhere_and_keeps_a_straight_line() -> None:
    points = [(float(x), 2.0 * x) for x in range(60)]
    smooth = running_mean(points)
    assert [x for x, _ in smooth] == [float(x) for x in range(3, 57)]
    assert [y for _, y in smooth] == pytest.approx([2.0 * x for x in range(3, 57)])


def test_one_value_at_the_end_moves_the_running_mean_by_no_more_than_its_share() -> None:
    level = [(float(x), 1.0) for x in range(59)]
    moved = running_mean([*level, (59.0, 8.0)])
    assert moved[-1][1] == pytest.approx(2.0)  # six values of 1 and one of 8
    assert [y for _, y in moved[:-1]] == pytest.approx([1.0] * 53)


def test_the_running_mean_smooths() -> None:
    points = [(float(x), float(x % 2)) for x in range(60)]
    middle = [y for _, y in running_mean(points)]
    assert max(middle) - min(middle) < 0.2


def test_values_that_are_not_finite_are_left_out_and_nothing_else_is() -> None:
    svg = line_chart("KL", [Series("kl", [1, 2, 3], [0.5, math.nan, 1.0])])
    drawn = re.findall(r'points="([^"]*)"', svg)
    assert [len(points.split()) for points in drawn] == [2, 2]
    assert line_chart("KL", [Series("kl", [1, 2], [math.nan, math.inf])]) == ""


def test_a_title_is_escaped() -> None:
    assert "<b>" not in line_chart("<b>", [Series("x", [1, 2], [0, 1])])


def test_a_logarithmic_axis_has_a_line_for_each_power_of_ten_and_leaves_out_zeros() -> None:
    svg = line_chart("loss", [Series("loss", [1, 2, 3], [5.0, 0.0, 0.02])], log_scale=True)
    assert re.findall(r'text-anchor="end">([\d.]+)</text>', svg)[:4] == ["0.01", "0.1", "1", "10"]
    assert [len(points.split()) for points in re.findall(r'points="([^"]*)"', svg)] == [2, 2]
    assert decades(-1.0, -1.0) == [-1, 0]


def test_an_interval_chart_has_a_dot_and_a_span_per_estimate_on_an_axis_with_zero() -> None:
    found = Estimate(0.2, 0.1, 0.3, 50)
    rows = {"direction": [found, None], "colour": [Estimate(0.0, -0.1, 0.1, 50), found]}
    chart = interval_chart("gap", rows, ["shuffled", "single-frame"])
    assert chart is not None
    assert chart.ticks == [(0, "−20"), (pytest.approx(33.33), "0"), (pytest.approx(66.67), "20"), (100, "40")]
    assert chart.zero == pytest.approx(33.33)
    [(direction, [first, missing]), (_, [second, third])] = chart.rows
    assert (direction, missing) == ("direction", None)
    assert first == Dot("shuffled", 66.67, 50, 33.33, "20.0 (10.0 to 30.0)")
    assert third == Dot("single-frame", 66.67, 50, 33.33, "20.0 (10.0 to 30.0)")
    assert second == Dot("shuffled", 33.33, 16.67, 33.33, "0.0 (−10.0 to 10.0)")
    assert interval_chart("nothing", {"direction": [None]}, ["s0"]) is None

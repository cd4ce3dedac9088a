"""How numbers are written."""

import pytest

from stages.evaluation.statistics import Estimate
from stages.reporting.numbers import p_value, points, signed, with_sign


@pytest.mark.parametrize(("share", "text"), [(0.123, "+12.3"), (-0.05, "−5.0"), (0.0001, "0.0"), (-0.0001, "0.0")])
def test_differences_carry_a_sign_unless_they_are_zero(share: float, text: str) -> None:
    assert signed(share) == text


def test_points_show_value_and_interval() -> None:
    assert points(Estimate(0.1, -0.02, 0.22, 50)) == "+10.0 points (−2.0 to +22.0)"


def test_a_number_that_rounds_to_zero_has_no_sign() -> None:
    assert [with_sign(value, 2) for value in (-1.1, 0.6, -0.004)] == ["−1.10", "+0.60", "0.00"]


def test_a_small_p_value_is_a_bound() -> None:
    assert [p_value(p) for p in (0.0004, 0.0123)] == ["p < 0.001", "p = 0.012"]

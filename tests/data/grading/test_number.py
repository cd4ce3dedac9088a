"""The number in an answer, and when two numbers are the same."""

import pytest

from stages.data.grading import numbers_in, parse_number
from stages.data.grading.number import MAX_FORMULA, same_number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("3", 3),
        ("-2.5", -2.5),
        ("1,000", 1000),
        ("45%", 45),
        (".5 m", 0.5),
        ("1e3", 1000),
        ("4 or 5", None),
        ("four", None),
        ("−2.5", -2.5),
        ("–7", -7),
        ("12,34,567", 1234567),
        ("3,", 3),
        ("1,5", None),
        ("10–15", None),
        ("５", 5),
    ],
)
def test_an_answer_is_a_number_when_it_holds_exactly_one(text: str, number: float | None) -> None:
    assert parse_number(text) == number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("24/7", 24 / 7),
        ("1 1/2", 1.5),
        ("1½", 1.5),
        ("-1/2", -0.5),
        (r"\frac{1}{2}", 0.5),
        (r"-\frac{1}{2}", -0.5),
        (r"$$- \dfrac{3}{2}$$", -1.5),
        ("- 3/2", -1.5),
        ("-½", -0.5),
        (r"x = -\frac{3}{2}", -1.5),
        (r"$1\frac12$", 1.5),
        ("1.5 × 10^3", 1500),
        ("1.5 x 10^{-3}", 0.0015),
        (r"1.5\times10^{3}", 1500),
        ("1.5·10³", 1500),
        ("10^3", 1000),
        ("9.8 m/s^2", 9.8),
        ("9.8 m s^-2", 9.8),
        (r"$9.8\ \mathrm{m/s^2}$", 9.8),
        ("3 m2", 3),
        ("3 m²", 3),
        ("5 cm^2", 5),
        ("5 kg·m/s²", 5),
        ("3 CO2 molecules", 3),
        ("1 000", 1000),
        ("1\u202f000\u202f000", 1_000_000),
        ("1'000", 1000),
        (r"\boxed{42}", 42),
        ("12/5/2020", None),
        ("3:30", None),
        ("1/0", None),
        ("1e999", None),
        ("5 and 3 pears", None),
    ],
)
def test_fractions_powers_units_and_separators_are_read(text: str, number: float | None) -> None:
    found = parse_number(text)
    assert found == (None if number is None else pytest.approx(number))


@pytest.mark.parametrize(
    ("text", "number"),
    [(r"2\sqrt{3}", 12**0.5), ("√2", 2**0.5), (r"$\frac{\sqrt{3}}{2}$", 0.75**0.5), ("2π", 6.283185), ("2^10", 1024)],
)
def test_formulas_are_evaluated(text: str, number: float) -> None:
    assert parse_number(text) == pytest.approx(number)


@pytest.mark.parametrize(
    "text", ["9^9^9", "((9^99)^99)^99^9", "√x", "√" + "1" * MAX_FORMULA, r"\sqrt{-1}", r"\frac{1}{0}"]
)
def test_formulas_without_a_real_value_or_of_any_size_are_no_numbers(text: str) -> None:
    assert parse_number(text) is None


def test_all_numbers_of_a_sentence_are_found() -> None:
    assert numbers_in("In frame 3 it is 1,000 px left, in frame 4 −2.5 px.") == [3, 1000, 4, -2.5]
    assert numbers_in("11,12") == [11, 12]


@pytest.mark.parametrize(
    ("prediction", "answer", "same"),
    [
        ("24/7", "3.429", True),
        ("3.43", "3.429", True),
        ("0.33", "1/3", True),
        ("5 cm^2", "5", True),
        ("5", "5 cm^2", True),
        ("1.5 × 10^3", "1500", True),
        ("0.004", "0.001", False),
        ("0", "0.004", False),
        ("0.004", "0", False),
        ("0", "0", True),
        ("0.0", "-0", True),
        ("3.44", "3.43", False),
    ],
)
def test_numbers_are_the_same_to_two_decimals_and_within_a_relative_tolerance(
    prediction: str, answer: str, same: bool
) -> None:
    assert same_number(prediction, answer) is same


def test_the_reference_code_knows_no_relative_tolerance_and_no_fraction() -> None:
    assert same_number("0.004", "0.001", "reference-code")
    assert not same_number("24/7", "3.43", "reference-code")

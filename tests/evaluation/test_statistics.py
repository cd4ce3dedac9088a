"""Intervals and tests, against values worked by hand or known from tables."""

import numpy as np
import pytest

from stages.evaluation.statistics import (
    mcnemar,
    nested_weights,
    normalised_gain,
    paired_difference,
    stratified_draw,
    wilson,
)


def test_a_plain_mean_weighs_all_questions_the_same() -> None:
    assert nested_weights([(), (), (), ()]).tolist() == [0.25] * 4


def test_nested_means_weigh_each_name_the_same_at_each_level() -> None:
    paths = [("a", "x"), ("a", "y"), ("a", "y"), ("b", "z")]
    assert nested_weights(paths).tolist() == [1 / 4, 1 / 8, 1 / 8, 1 / 2]


@pytest.mark.parametrize("seed", range(5))
def test_a_draw_takes_of_each_stratum_its_share(seed: int) -> None:
    strata = [("a",)] * 60 + [("b",)] * 30 + [("c",)] * 10
    drawn = stratified_draw(strata, 20, seed)
    assert drawn == sorted(set(drawn))
    assert [sum(strata[index] == (name,) for index in drawn) for name in "abc"] == [12, 6, 2]
    assert drawn == stratified_draw(strata, 20, seed)
    assert drawn != stratified_draw(strata, 20, seed + 1)


def test_a_draw_reaches_every_index_and_takes_all_of_a_small_benchmark() -> None:
    strata = [("a",), ("b",), ("a",), ("b",), ("c",)]
    assert {index for seed in range(60) for index in stratified_draw(strata, 2, seed)} == set(range(5))
    assert stratified_draw(strata, 5, 0) == stratified_draw(strata, 9, 0) == [0, 1, 2, 3, 4]


def test_wilson_interval_equals_the_textbook_value() -> None:
    scores_N = np.array([1.0] * 8 + [0.0] * 2)
    found = wilson(scores_N, np.full(10, 0.1))
    assert (found.value, found.n) == (pytest.approx(0.8), 10)
    assert (found.low, found.high) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))


def test_wilson_interval_of_a_perfect_score_does_not_shrink_to_a_point() -> None:
    found = wilson(np.ones(10), np.full(10, 0.1))
    assert found.high == 1.0
    assert found.low == pytest.approx(0.7225, abs=1e-4)


def test_uneven_weights_widen_the_interval() -> None:
    scores_N = np.array([1.0, 0.0, 1.0, 0.0])
    even = wilson(scores_N, np.full(4, 0.25))
    uneven = wilson(scores_N, np.array([0.4, 0.4, 0.1, 0.1]))
    assert uneven.value == even.value == pytest.approx(0.5)
    assert uneven.high - uneven.low > even.high - even.low


def test_paired_difference_is_the_mean_with_the_textbook_interval() -> None:
    first_N, second_N = np.array([1.0, 1, 1, 0] * 25), np.array([1.0, 0, 0, 0] * 25)
    found = paired_difference(first_N, second_N, np.full(100, 0.01))
    assert (found.value, found.n) == (pytest.approx(0.5), 100)
    # Bonett and Price: 51 of 102 won, 1 lost; 50 / 102 ± 1.96 √((52 / 102 - (50 / 102)²) / 102)
    assert (found.low, found.high) == (pytest.approx(0.3895, abs=1e-4), pytest.approx(0.5909, abs=1e-4))


def test_questions_that_all_came_out_alike_are_no_certainty() -> None:
    even = [paired_difference(np.ones(n), np.ones(n), np.full(n, 1 / n)) for n in (1, 30, 1000)]
    assert [found.value for found in even] == [0, 0, 0]
    assert [found.high for found in even] == pytest.approx(
        [0.924, 0.0866, 0.00277], rel=1e-2
    )  # about √2 · 1.96 / (n + 2)
    assert [found.low for found in even] == [-found.high for found in even]
    lost = paired_difference(np.zeros(5), np.ones(5), np.full(5, 0.2))
    assert (lost.value, lost.low) == (pytest.approx(-1), -1)
    assert -0.3 < lost.high < -0.1


def test_mcnemar_counts_only_pairs_that_differ() -> None:
    first_N = np.array([1.0] * 9 + [0.0] + [1.0] * 90)
    second_N = np.array([0.0] * 9 + [1.0] + [1.0] * 90)
    # 9 against 1: 2 * (C(10,0) + C(10,1)) / 2**10
    assert mcnemar(first_N, second_N) == pytest.approx(22 / 1024)
    assert mcnemar(first_N, first_N) == 1.0


def test_the_normalised_gain_is_the_part_of_what_was_missing() -> None:
    before_N, after_N = np.array([1.0] * 40 + [0.0] * 60), np.array([1.0] * 40 + [1.0] * 15 + [0.0] * 45)
    found = normalised_gain(after_N, before_N)
    assert found is not None
    assert (found.value, found.n) == (pytest.approx(15 / 60), 100)
    assert 0.1 < found.low < 0.25 < found.high < 0.4
    assert normalised_gain(np.ones(3), np.ones(3)) is None
    assert normalised_gain(np.array([]), np.array([])) is None

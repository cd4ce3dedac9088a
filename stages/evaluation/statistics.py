"""Weights of nested means, intervals of scores, paired tests, and draws."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from scipy.stats import binomtest

Z95 = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval, from `n` questions."""

    value: float
    low: float
    high: float
    n: int


def nested_weights(paths: Sequence[tuple[str, ...]]) -> np.ndarray:
    """weights_N, which sum to 1, of a mean of means.

    Σ w·score is the mean over the first names of the questions' paths of the mean over the second names, and so on. The
    path () gives the plain mean.
    """
    children: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
    for path in paths:
        for depth in range(len(path)):
            children.setdefault(path[:depth], set()).add(path[: depth + 1])
    questions_at = Counter(paths)

    def shared_by(path: tuple[str, ...]) -> int:
        """The number of equal parts of which one question here is one."""
        branches = (len(children[path[:depth]]) for depth in range(len(path)))
        return math.prod(branches) * questions_at[path]

    shares = {path: 1 / shared_by(path) for path in questions_at}
    return np.array([shares[path] for path in paths], dtype=np.float64)


def stratified_draw(strata: Sequence[tuple[str, ...]], count: int, seed: int) -> list[int]:
    """`count` indices of `strata`, with the share of each stratum.

    A share is rounded up or down. The draw is systematic: the strata stand in a row, each in a random order, and places
    at equal distances are taken from a random start. All indices where `count` is not smaller.
    """
    if count >= len(strata):
        return list(range(len(strata)))
    rng = np.random.default_rng(seed)
    row = sorted(rng.permutation(len(strata)).tolist(), key=lambda index: strata[index])
    places = (rng.random() + np.arange(count)) * len(strata) / count
    return sorted(row[int(place)] for place in places)


def wilson(scores_N: np.ndarray, weights_N: np.ndarray) -> Estimate:
    """The weighted mean of scores in [0, 1] with Wilson's interval.

    Uneven weights count as 1 / Σ w² questions (Kish). The interval is conservative where scores lie between 0 and 1,
    because their variance is at most that of right or wrong answers.
    """
    mean, n = float(weights_N @ scores_N), 1 / float(weights_N @ weights_N)
    centre = (mean + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 / (1 + Z95**2 / n) * math.sqrt(mean * (1 - mean) / n + Z95**2 / (4 * n**2))
    return Estimate(mean, max(0.0, centre - half), min(1.0, centre + half), len(scores_N))


def paired_difference(first_N: np.ndarray, second_N: np.ndarray, weights_N: np.ndarray) -> Estimate:
    """The weighted mean of first − second, with Bonett and Price's interval.

    That is the normal interval with two questions more, one won and one lost by a whole point. So a few questions, or
    many with the same outcome, never give an interval of zero width. Uneven weights count as 1 / Σ w² questions (Kish).
    """
    differences_N = first_N - second_N
    mean = float(weights_N @ differences_N)
    mean_square = float(weights_N @ differences_N**2)
    n = 1 / float(weights_N @ weights_N)
    centre = n * mean / (n + 2)
    half = Z95 * math.sqrt(((n * mean_square + 2) / (n + 2) - centre**2) / (n + 2))
    return Estimate(mean, max(-1.0, centre - half), min(1.0, centre + half), len(differences_N))


def normalised_gain(after_N: np.ndarray, before_N: np.ndarray, resamples: int = 2000) -> Estimate | None:
    """The normalised gain of mean scores, with its interval.

    It is (after − before) / (1 − before). Both are scores of the same questions.

    The interval is that of a seeded bootstrap of the questions. None without questions, or when `before` left nothing
    to gain.
    """
    if not len(before_N) or before_N.mean() == 1:
        return None
    draws_RN = np.random.default_rng(0).integers(len(before_N), size=(resamples, len(before_N)))
    gained_R, possible_R = (after_N - before_N)[draws_RN].sum(axis=1), (1 - before_N)[draws_RN].sum(axis=1)
    low, high = np.quantile(gained_R[possible_R > 0] / possible_R[possible_R > 0], [0.025, 0.975])
    value = (after_N - before_N).sum() / (1 - before_N).sum()
    return Estimate(float(value), float(low), float(high), len(before_N))


def mcnemar(first_N: np.ndarray, second_N: np.ndarray) -> float:
    """McNemar's exact two-sided p-value for two runs on the same questions.

    Its hypothesis: among the questions with different scores, either run is as likely to have the higher one. For
    scores between 0 and 1 this is the sign test.
    """
    better, worse = int((first_N > second_N).sum()), int((first_N < second_N).sum())
    return float(binomtest(better, better + worse).pvalue) if better + worse else 1.0

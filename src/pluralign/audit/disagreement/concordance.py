"""Whether raters put the same options in the same order."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .shuffling import ROUNDING, PermutationTest, check_permutations, tested
from .tables import Floats, option_table


def kendall_w(ratings: ArrayLike) -> float:
    """Kendall's coefficient of concordance, corrected for ties.

    Use it for ratings or rankings of the same options by several raters or groups. It sees
    order alone: two raters who agree in order at different levels have 1.

    Args:
        ratings: ``(m, n)``, ratings (or ranks) of n options by m raters.

    Returns:
        ``12 S / (m^2 (n^3 - n) - m sum T)`` in [0, 1], ``T = sum(t^3 - t)`` over a rater's
        ties; NaN if every rater ties all options.

    Raises:
        DataError: if there are fewer than two raters or options, or a rating is not finite.

    Example:
        >>> round(kendall_w([[1, 2, 3, 4], [1, 3, 2, 4], [4, 3, 2, 1]]), 4)
        0.1111

    References:
        Kendall and Babington Smith, 1939, Ann. Math. Statist. 10(3).
    """
    ranks = rank_matrix(ratings)
    return float(_concordance(ranks.sum(axis=0), ranks))


def rank_matrix(ratings: ArrayLike) -> Floats:
    """Ranks of the options for each rater, ties shared: ``(m, n)``, 1 is the lowest rating.

    Raises:
        DataError: as :func:`kendall_w`.

    Example:
        >>> rank_matrix([[3, 1, 1], [1, 2, 3]]).tolist()
        [[3.0, 1.5, 1.5], [1.0, 2.0, 3.0]]
    """
    from scipy.stats import rankdata

    given = option_table(ratings)
    return np.asarray(rankdata(given, axis=1), dtype=np.float64)


def agreement_test(
    ratings: ArrayLike, n_permutations: int = 9999, seed: int = 0
) -> PermutationTest:
    """Whether raters agree more in order than if each had shuffled the options.

    Args:
        ratings: ``(m, n)`` ratings of n options by m raters.
        n_permutations: shuffles, at least 99.
        seed: of the shuffles.

    Returns:
        Kendall's W with its test.

    Raises:
        DataError: as :func:`kendall_w`.
        ParameterError: if ``n_permutations`` is below 99.

    Example:
        >>> agreement_test([[1, 2, 3, 4, 5, 6]] * 4, n_permutations=99).p_value
        0.01
    """
    ranks = rank_matrix(ratings)
    value = float(_concordance(ranks.sum(axis=0), ranks))
    check_permutations(n_permutations)
    rng = np.random.default_rng(seed)
    sums = [rng.permuted(ranks, axis=1).sum(axis=0) for _ in range(n_permutations)]
    return tested(value, _concordance(np.array(sums), ranks))


def mean_tau(ratings: ArrayLike) -> float:
    """Mean of Kendall's tau-b over all pairs of raters; pairs with a constant rater are left out.

    Args:
        ratings: ``(m, n)`` ratings of n options by m raters.

    Returns:
        A number in [-1, 1], NaN if every pair has a constant rater.

    Raises:
        DataError: as :func:`kendall_w`.

    Example:
        >>> round(mean_tau([[1, 2, 3], [1, 2, 3], [3, 2, 1]]), 4)
        -0.3333
    """
    given = option_table(ratings)
    signs = np.sign(given[:, :, None] - given[:, None, :]).reshape(len(given), -1)
    norms = np.sqrt((signs**2).sum(axis=1))
    first, second = np.triu_indices(len(given), 1)
    scale = norms[first] * norms[second]
    kept = scale > 0
    if not kept.any():
        return float("nan")
    return float(((signs @ signs.T)[first, second][kept] / scale[kept]).mean())


def _concordance(sums: Floats, ranks: Floats) -> Floats:
    """W from rank sums ``(..., n)``; shuffling a rater's options leaves his ties."""
    m, n = ranks.shape
    # sum of squares of a rater's ranks about their mean is (n^3 - n - T) / 12
    spread = ((ranks - ranks.mean(axis=1, keepdims=True)) ** 2).sum()
    if spread <= ROUNDING:
        return np.full(sums.shape[:-1], np.nan)
    return ((sums - m * (n + 1) / 2) ** 2).sum(axis=-1) / (m * spread)

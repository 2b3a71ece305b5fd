"""Intervals of shares, and the smallest gap that a number of pairs can show."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ParameterError
from ..intervals import normal_quantile, wilson


def share_interval(
    hits: NDArray[np.bool_], clusters: NDArray[Any], confidence: float
) -> dict[str, float]:
    """A share with its Wilson interval; rows of one cluster count as less than independent.

    The design effect ``sum_c (sum_{i in c} (x_i - p))^2 / sum_i (x_i - p)^2``, where it is
    above 1, divides the number of rows.

    Returns:
        ``value``, ``low``, ``high``, ``n`` and ``n_effective``.
    """
    size = len(hits)
    if not size:
        return {"value": math.nan, "low": 0.0, "high": 1.0, "n": 0, "n_effective": 0.0}
    share = float(np.mean(hits))
    residual = hits - share
    sums = np.bincount(np.unique(clusters, return_inverse=True)[1], weights=residual)
    spread = float(np.sum(residual**2))
    effect = max(float(np.sum(sums**2)) / spread, 1.0) if spread else 1.0
    low, high = wilson(share * size / effect, size / effect, confidence)
    return {"value": share, "low": low, "high": high, "n": size, "n_effective": size / effect}


def minimum_detectable_gap(
    n: int, m: int | None = None, *, confidence: float = 0.95, power: float = 0.8
) -> float:
    """Smallest gap of two accuracies that a test finds with the stated power.

    Use it before collecting or claiming; it says nothing about a gap that was found. With
    ``p_bar = 1/2``, where the variance is largest, it solves for ``d``::

        d = z_(1-a/2) sqrt(1/4 (1/n + 1/m)) + z_power sqrt(p1 q1 / n + p2 q2 / m)

    with ``p1 - p2 = d`` and ``(n p1 + m p2) / (n + m) = 1/2``. Without ``m`` it is the gap
    of one accuracy to 1/2 (a test against chance).

    Args:
        n: pairs of the first group, >= 1.
        m: pairs of the second group, >= 1, or ``None`` for a test against chance.
        confidence: 1 - two-sided level of the test, in (0, 1).
        power: probability of finding the gap, in (1/2, 1).

    Returns:
        The gap in (0, 1], or NaN if no gap is large enough.

    Raises:
        ParameterError: for sizes below 1.

    Example:
        >>> round(minimum_detectable_gap(100, 100), 3), round(minimum_detectable_gap(100), 3)
        (0.197, 0.138)
    """
    if n < 1 or (m is not None and m < 1):
        raise ParameterError(f"n and m must be at least 1; got n={n}, m={m}.")
    from scipy.optimize import brentq

    level, strong = normal_quantile(confidence), NormalDist().inv_cdf(power)
    largest = 0.5 if m is None else (n + m) / (2 * max(n, m))

    def surplus(gap: float) -> float:
        if m is None:
            return gap - (level * 0.5 + strong * math.sqrt(0.25 - gap**2)) / math.sqrt(n)
        p, q = 0.5 + gap * m / (n + m), 0.5 - gap * n / (n + m)
        null = math.sqrt(0.25 * (1 / n + 1 / m))
        real = math.sqrt(max(p * (1 - p) / n + q * (1 - q) / m, 0.0))
        return gap - level * null - strong * real

    if surplus(largest) < 0:
        return math.nan
    return float(brentq(surplus, 0.0, largest))  # type: ignore[arg-type]

"""Intervals for means, shares and spreads that hold their level in small groups too.

Every estimate comes with *draws*: plausible true values of one group, whose quantiles
are its interval. Draws of several groups together give the interval of their gap.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import NormalDist
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Method = Literal["wilson", "paired_score", "bootstrap_t"]

# Resampled spreads below a tenth of the observed one come from a few repeated values and
# would stretch an interval without end.
_SPREAD_FLOOR = 0.1
# With fewer values than this, resampling knows less than Student's t does.
_FEW = 6
# With more values than this, the expansion of the bootstrap-t is as good and far cheaper; row
# numbers up to it fit into 16 bits.
_MANY = 5_000
# Chance of leaving a group out that may be the best (worst).
_LEFT_OUT = 0.05
_CHUNK = 40_000  # numbers held at a time; small blocks stay in the processor's cache
_TINY = 1e-12


class Mean(NamedTuple):
    """A weighted mean, its interval and its draws.

    Attributes:
        value: the mean.
        low: lower end, NaN where there is no interval.
        high: upper end, NaN where there is no interval.
        draws: ``(n_draws,)`` plausible true values; empty where there is no interval.
    """

    value: float
    low: float
    high: float
    draws: Floats


def wilson(successes: float, total: float, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share; its level is right on average over true shares.

    Args:
        successes: number, or effective number, of successes.
        total: number of trials, > 0.
        confidence: level in (0, 1).

    Example:
        >>> low, high = wilson(8, 10)
        >>> round(low, 3), round(high, 3)
        (0.49, 0.943)

    References:
        Brown, Cai and DasGupta, 2001, Statistical Science 16(2).
    """
    z = normal_quantile(confidence)
    share = successes / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    spread = share * (1 - share) / total + z * z / (4 * total * total)
    half = z / (1 + z * z / total) * float(np.sqrt(max(spread, 0.0)))
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


def clopper_pearson(
    successes: float, total: float, confidence: float = 0.95
) -> tuple[float, float]:
    """The exact interval of a share: its level is never below ``confidence``, often above.

    Example:
        >>> low, high = clopper_pearson(18, 120)
        >>> round(low, 6), round(high, 6)
        (0.09139, 0.226667)

    References:
        Clopper and Pearson, 1934, Biometrika 26(4).
    """
    from scipy.stats import beta

    tail = (1 - confidence) / 2
    failures = total - successes
    low = beta.ppf(tail, successes, failures + 1) if successes > 0 else 0.0
    high = beta.ppf(1 - tail, successes + 1, failures) if failures > 0 else 1.0
    return float(low), float(high)


def paired_score(
    gains: float, losses: float, total: float, confidence: float = 0.95
) -> tuple[float, float]:
    """Tango's score interval of a paired difference of shares, (gains - losses) / total.

    Args:
        gains: pairs that only the first of two models gets right.
        losses: pairs that only the second gets right.
        total: number of pairs, > 0.
        confidence: level in (0, 1).

    Example:
        >>> low, high = paired_score(4, 1, 10)
        >>> round(low, 3), round(high, 3)
        (-0.153, 0.64)

    References:
        Tango, 1998, Statistics in Medicine 17(8).
    """
    z = normal_quantile(confidence)
    difference = (gains - losses) / total

    def statistic(assumed: float) -> float:
        linear = (2 * total - gains + losses) * assumed - gains - losses
        constant = -losses * assumed * (1 - assumed)
        root = np.sqrt(max(linear * linear - 8 * total * constant, 0.0))
        variance = total * ((root - linear) / (2 * total) + assumed * (1 - assumed))
        return (gains - losses - total * assumed) / float(np.sqrt(max(variance, _TINY)))

    return (
        _crossing(lambda value: statistic(value) <= z, -1.0, difference),
        _crossing(lambda value: statistic(value) < -z, difference, 1.0),
    )


def _crossing(passed: Callable[[float], bool], low: float, high: float) -> float:
    """Where a condition that fails at ``low`` and holds at ``high`` begins to hold."""
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if passed(middle) else (middle, high)
    return (low + high) / 2


def mean_interval(
    values: Floats,
    weights: Floats | None,
    method: Method,
    *,
    confidence: float,
    n_draws: int,
    rng: np.random.Generator,
) -> Mean:
    """Mean of one group with interval and draws.

    Args:
        values: ``(n,)`` finite, n >= 1; in any order, the result is the same.
        weights: ``(n,)`` positive, or ``None`` for equal weights. Shares use the
            effective number of pairs, ``sum(w)**2 / sum(w**2)``.
        method: ``"wilson"`` for values 0 and 1, ``"paired_score"`` for -1, 0 and 1,
            ``"bootstrap_t"`` for any.
        confidence: level in (0, 1).
        n_draws: number of draws.
        rng: source of the draws.

    Returns:
        The mean; without an interval for a single value, and for several values that are
        all equal unless they are counts, for which an interval exists all the same.
    """
    weights = np.ones(len(values)) if weights is None else weights
    order = np.lexsort((weights, values))
    values, weights = values[order], weights[order]
    value = float(np.average(values, weights=weights))
    if len(values) == 1:
        return Mean(value, np.nan, np.nan, np.empty(0))
    if method == "bootstrap_t":
        draws = _bootstrap_t(values, weights, n_draws, rng)
        if not draws.size:
            return Mean(value, np.nan, np.nan, draws)
        tail = (1 - confidence) / 2
        low, high = np.quantile(draws, [tail, 1 - tail])
        return Mean(value, float(low), float(high), draws)
    total = float(weights.sum() ** 2 / np.square(weights).sum())
    gains = total * float(np.average(values > 0, weights=weights))
    losses = total * float(np.average(values < 0, weights=weights))
    # Draws are Jeffreys posteriors: they keep a spread where every pair agrees.
    if method == "wilson":
        draws = rng.beta(gains + 0.5, total - gains + 0.5, n_draws)
        return Mean(value, *wilson(gains, total, confidence), draws)
    counts = np.array([gains, losses, max(total - gains - losses, 0.0)]) + 0.5
    shares = rng.dirichlet(counts, n_draws)
    return Mean(value, *paired_score(gains, losses, total, confidence), shares[:, 0] - shares[:, 1])


def _bootstrap_t(values: Floats, weights: Floats, n_draws: int, rng: np.random.Generator) -> Floats:
    """Draws ``mean - error * t``, with t resampled (Hall, 1992).

    For few values t is Student's; for many it comes from its Edgeworth expansion, which has
    the accuracy of the resampled one.
    """
    size = len(values)
    mean = np.average(values, weights=weights)
    centred = values - mean
    small_sample = size / (size - 1)
    influence = weights * centred
    error = np.sqrt(np.square(influence).sum() * small_sample) / weights.sum()
    if error <= _TINY * (abs(mean) + np.abs(centred).max()):
        return np.empty(0)
    if size < _FEW:
        return mean - error * rng.standard_t(size - 1, n_draws)
    if size > _MANY:
        skewness = float(np.mean(influence**3) / np.mean(influence**2) ** 1.5)
        normal = rng.standard_normal(n_draws)
        t = normal - skewness / (6 * np.sqrt(size)) * (2 * normal * normal + 1)
        return mean - error * t
    w, wx, ww, wwx, wwxx = _resampled_sums(centred, weights, n_draws, rng)
    shift = wx / w
    squared = (wwxx - 2 * shift * wwx + shift * shift * ww) / (w * w) * small_sample
    spread = np.sqrt(np.maximum(squared, (_SPREAD_FLOOR * error) ** 2))
    return mean - error * shift / spread


def _resampled_sums(
    centred: Floats, weights: Floats, n_draws: int, rng: np.random.Generator
) -> list[Floats]:
    """Sums of w, wx, w², w²x and w²x² over rows drawn with replacement, ``(n_draws,)`` each."""
    equal = bool((weights == weights[0]).all())
    # Two real columns in one complex one are looked up at once.
    if equal:
        columns = [centred + 1j * np.square(centred)]
    else:
        both = weights + 1j * weights * centred
        columns = [both, weights * both, np.square(weights * centred) + 0j]
    sums = [np.empty(n_draws, dtype=np.complex128) for _ in columns]
    rows = max(1, _CHUNK // len(weights))
    for start in range(0, n_draws, rows):
        count = min(rows, n_draws - start)
        index = rng.integers(0, len(weights), (count, len(weights)), dtype=np.uint16)
        for column, total in zip(columns, sums, strict=True):
            total[start : start + count] = column.take(index).sum(axis=1)
    if equal:
        size = np.full(n_draws, float(len(weights)))
        return [size, sums[0].real, size, sums[0].real, sums[0].imag]
    return [sums[0].real, sums[0].imag, sums[1].real, sums[1].imag, sums[2].real]


def spread_interval(
    values: Floats,
    draws: Floats,
    confidence: float = 0.95,
    ends: tuple[int, int] | None = None,
) -> tuple[float, float, float]:
    """The gap between the best and the worst of several means, with an interval.

    The largest and smallest of several noisy means lie further apart than the true ones.
    The lower end allows for that: it takes off what noise alone puts between all groups
    that could be the best and all that could be the worst. The upper end is that of the
    plain difference between the observed best and worst group. In simulation (95 %,
    2 to 20 groups of 10 to 200) it holds the truth in 91 to 100 % of the cases: near 95 %
    where groups are far apart, mostly more where some are close.

    Args:
        values: ``(k,)`` means, k >= 1.
        draws: ``(n_draws, k)`` plausible true values of each.
        confidence: level in (0, 1).
        ends: places of the worst and the best; those of the lowest and the highest mean
            unless given.

    Returns:
        Gap (not below zero), lower and upper end. Ours; the contenders follow moment selection.
    """
    errors = values - draws
    # Ties from opposite ends, so that the best and the worst of equal groups are two groups.
    worst, best = ends or (len(values) - 1 - int(values[::-1].argmin()), int(values.argmax()))
    deviation = errors.std(axis=0)
    # A level for all groups at once, so that none of many equal ones is left out.
    reach = normal_quantile(1 - _LEFT_OUT / len(values))
    near_best = values >= values[best] - reach * np.hypot(deviation, deviation[best])
    near_worst = values <= values[worst] + reach * np.hypot(deviation, deviation[worst])
    top = errors[:, near_best].max(axis=1)
    bottom = errors[:, near_worst].min(axis=1)
    tail = (1 - confidence) / 2
    gap = max(0.0, float(values[best] - values[worst]))
    low = gap - float(np.quantile(top - bottom, 1 - tail))
    high = gap - float(np.quantile(errors[:, best] - errors[:, worst], tail))
    return gap, max(0.0, low), max(gap, high)


def normal_quantile(confidence: float) -> float:
    """The two-sided standard normal quantile of a level, 1.96 at 0.95."""
    return NormalDist().inv_cdf((1 + confidence) / 2)

"""The best of several draws in expectation: what neighbours gain over the target itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from ..errors import ParameterError
from ..rules import Within, shown
from .sphere import Floats

Cdf = Callable[[Floats], Floats]

_NODES = 24
_REACH_SD = 10.0


def expected_max(means: ArrayLike, sds: ArrayLike = 1.0) -> float:
    r"""Expected largest of independent normal draws, one of each mean and sd.

    :math:`E[\max] = b - \int_{-\infty}^{b} \prod_i F_i(s)\,ds` with b above all mass, by
    Gauss-Legendre quadrature.

    Args:
        means: one mean for each draw, shape (k,).
        sds: standard deviations >= 0, shape (k,) or one for all; 0 is a certain value.

    Raises:
        ParameterError: for no draws, values that are not finite or a negative sd.

    Example:
        >>> round(expected_max([0.0, 0.0]), 9)  # 1 / sqrt(pi)
        0.564189584
    """
    mean, sd = _laws(means, sds)
    edges = _edges(mean, sd)
    return float(edges[-1] - _integral(lambda s: _product(s, mean, sd), edges))


def expected_gap(
    means: ArrayLike,
    sds: ArrayLike = 1.0,
    *,
    base_mean: float,
    base_sd: float,
    base_k: int | None = None,
) -> float:
    r"""How far the best of neighbours lies above the best of k at the target, in expectation.

    :math:`E[\max_i S_i] - E[\max S_0] = \int (F_0(s)^k - \prod_i F_i(s))\,ds`, normal laws.
    Not negative if each neighbour dominates at the target's score; a turn costs where the
    neighbours are not better.

    Args:
        means: of the target score of a draw from each neighbour, shape (m,).
        sds: their standard deviations, shape (m,) or one for all.
        base_mean: mean of a draw at the target.
        base_sd: its standard deviation.
        base_k: draws of the baseline; ``None`` for as many as there are neighbours.

    Raises:
        ParameterError: as :func:`expected_max`.

    Example:
        >>> round(expected_gap([0.5, 0.35, 0.2, 0.1, 0.0], 1.0, base_mean=0.0, base_sd=1.0), 6)
        0.253189

    References:
        Ours, in place of the "robustness gain" bound of the paper's draft, which does not hold.
    """
    mean, sd = _laws(means, sds)
    zero, spread, k = _baseline(base_mean, base_sd, len(mean) if base_k is None else base_k)
    edges = _edges(np.append(mean, zero), np.append(sd, spread))
    return gap_integral(
        lambda s: _product(s, mean, sd), lambda s: _product(s, zero, spread), k, edges
    )


def gap_integral(best: Cdf, base: Cdf, k: int, edges: ArrayLike) -> float:
    """The gap of :func:`expected_gap` for any laws: of the best neighbour, and of one base draw.

    Args:
        best: distribution function of the best of the neighbours, (n,) to (n,).
        base: distribution function of one draw at the target.
        k: draws at the target, >= 1.
        edges: increasing points from below to above all mass, with a point at every kink.

    Example:
        >>> uniform = lambda s: s.clip(0, 1)
        >>> round(gap_integral(lambda s: uniform(s) ** 3, uniform, 1, [0.0, 1.0]), 9)  # 3/4 - 1/2
        0.25
    """
    return _integral(lambda s: base(s) ** k - best(s), np.asarray(edges, dtype=np.float64))


def win_probability(
    means: ArrayLike,
    sds: ArrayLike = 1.0,
    *,
    base_mean: float,
    base_sd: float,
    base_k: int | None = None,
) -> float:
    """Probability that the best of the neighbours beats the best of k at the target.

    Args as in :func:`expected_gap`, the two arms drawn independently; ``base_sd`` above 0.

    Raises:
        ParameterError: as :func:`expected_gap`, or for a ``base_sd`` of 0.

    Example:
        >>> round(win_probability([0.0] * 5, 1.0, base_mean=0.0, base_sd=1.0, base_k=3), 9)
        0.625
    """
    mean, sd = _laws(means, sds)
    zero, spread, k = _baseline(base_mean, base_sd, len(mean) if base_k is None else base_k)
    if not spread[0]:
        raise ParameterError("base_sd must be above 0 for a probability of winning; got 0.")

    def lost(s: Floats) -> Floats:
        z = (s - zero) / spread
        density = np.exp(-0.5 * z**2) / (spread * np.sqrt(2 * np.pi))
        return _product(s, mean, sd) * k * _product(s, zero, spread) ** (k - 1) * density

    edges = _edges(np.append(mean, zero), np.append(sd, spread))
    return float(np.clip(1.0 - _integral(lost, edges), 0.0, 1.0))


def consistency_bound(reward: ArrayLike, degrees: ArrayLike) -> Floats:
    r"""Most that a projected reward changes when the direction turns by an angle.

    :math:`|v\cdot r - u\cdot r| \le 2\sin(\theta/2)\,\|r\|_2`, shape of ``degrees``.

    Args:
        reward: reward vector (d,), or rows (n, d) with ``degrees`` of shape (n,).
        degrees: angles between the two directions.

    Example:
        >>> consistency_bound((60.0, 35.0), [5.0, 30.0]).round(4).tolist()
        [6.0598, 35.9563]
    """
    length = np.linalg.norm(np.asarray(reward, dtype=np.float64), axis=-1)
    half = np.deg2rad(np.asarray(degrees, dtype=np.float64)) / 2
    return np.asarray(2 * np.abs(np.sin(half)) * length)


def _product(s: Floats, mean: Floats, sd: Floats) -> Floats:
    """Distribution function of the largest: equal laws are evaluated once."""
    from scipy.special import ndtr

    laws, counts = np.unique(np.stack([mean, sd]), axis=1, return_counts=True)
    found = np.ones_like(s)
    for m, width, count in zip(*laws, counts, strict=True):
        below = ndtr((s - m) / width) if width else (s >= m).astype(np.float64)
        found = found * below**count
    return found


def _edges(mean: Floats, sd: Floats) -> Floats:
    """Panels of one standard deviation around every mean: each integrand is smooth in each."""
    laws = np.unique(np.stack([mean, sd]), axis=1)
    steps = np.arange(-_REACH_SD, _REACH_SD + 1)
    points = np.unique((laws[0] + np.outer(steps, laws[1])).ravel())
    return points if len(points) > 1 else np.array([points[0] - 1.0, points[0]])


def _integral(f: Cdf, edges: Floats) -> float:
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    half = np.diff(edges)[:, None] / 2
    points = edges[:-1, None] + half * (nodes + 1)
    return float((half * weights * f(points.ravel()).reshape(points.shape)).sum())


def _laws(means: ArrayLike, sds: ArrayLike) -> tuple[Floats, Floats]:
    mean = np.atleast_1d(np.asarray(means, dtype=np.float64))
    given = np.asarray(sds, dtype=np.float64)
    if mean.ndim != 1 or not len(mean) or not np.isfinite(mean).all():
        raise ParameterError(f"means must be one or more finite numbers; got {shown(means)}.")
    if given.shape not in ((), mean.shape) or not (np.isfinite(given) & (given >= 0)).all():
        raise ParameterError(
            f"sds must be finite numbers >= 0, one or {len(mean)}; got {shown(sds)}."
        )
    return mean, np.broadcast_to(given, mean.shape)


def _baseline(mean: float, sd: float, k: int) -> tuple[Floats, Floats, int]:
    if not Within(1, None, integer=True).admits(k):
        raise ParameterError(f"base_k must be an integer >= 1; got {shown(k)}.")
    return *_laws([mean], [sd]), k

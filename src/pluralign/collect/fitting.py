"""Fit a learning curve to a few measured losses, and say how sure its next gain is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import DataError, ParameterError
from .curves import Floats, as_floats
from .problem import check_gamma_bounds, plain, warn

GAMMA_BOUNDS = (0.05, 2.0)
_GRID, _ZOOMS = 45, 7
_DOUBLINGS, _HALVINGS = 60, 40
_FALLBACK_GAMMA = 0.5
_LEAST_SIZES = 3


class Gain(NamedTuple):
    """Loss that the next sample removes, with its interval (NaN where there is none)."""

    value: float
    low: float
    high: float


@final
@dataclass(frozen=True, eq=False)
class CurveFit:
    """A fitted curve ``a + b n^-gamma`` of one group.

    Attributes:
        a: loss that no amount of data removes.
        b: what data can remove.
        gamma: how fast.
        flag: ``""``; ``"flat"`` or ``"rising"`` if the losses do not fall; ``"few_sizes"`` if
            fewer than three sizes were measured, so that a = 0 and gamma = 0.5 are assumed.
        sizes: ``(K,)`` that were measured.
        loss: ``(K,)``.
        noise: ``(K,)`` standard deviations of the losses, as given or from the residuals; NaN
            if neither tells.
        noise_given: whether they were given.
        gamma_bounds: of the fit.
    """

    a: float
    b: float
    gamma: float
    flag: str
    sizes: Floats
    loss: Floats
    noise: Floats
    noise_given: bool
    gamma_bounds: tuple[float, float]

    def gain(self, n: float, *, confidence: float = 0.95) -> Gain:
        """Loss that the next sample removes at ``n``, with a profile-likelihood interval.

        The parameters have no interval of their own: a and gamma trade off against each other,
        so that theirs would be wide where the gain is well known. There is no interval where
        gamma was assumed, or where three points without standard errors leave no residual.

        Args:
            n: samples, > 0.
            confidence: level in (0, 1).
        """
        if not 0 < confidence < 1:
            raise ParameterError(f"confidence must be in (0, 1); got {confidence!r}.")
        if not 0 < n < np.inf:
            raise ParameterError(f"n must be a finite number of samples > 0; got {n!r}.")
        value = self.b * self.gamma * n ** (-self.gamma - 1)
        if self.flag == "few_sizes" or not np.isfinite(self.noise).all():
            return Gain(value, np.nan, np.nan)
        allowed = self._allowed(confidence)

        def within(gains: Floats) -> NDArray[np.bool_]:
            return self._squares(gains, n) <= allowed

        top = max(value, float(self.noise.min()) / n, 1e-300)
        for _ in range(_DOUBLINGS):
            top *= 2
            if not within(np.array([top]))[0]:
                break
        inside, outside = np.array([value, value]), np.array([0.0, top])
        if within(np.array([0.0]))[0]:
            inside[0] = 0.0
        for _ in range(_HALVINGS):
            middle = 0.5 * (inside + outside)
            good = within(middle)
            inside, outside = np.where(good, middle, inside), np.where(good, outside, middle)
        return Gain(value, float(inside[0]), float(inside[1]))

    def _allowed(self, confidence: float) -> float:
        """Largest weighted sum of squares that the level admits."""
        from scipy.special import chdtri, stdtrit

        fitted = self.a + self.b * self.sizes**-self.gamma
        rest = self.loss - fitted
        if self.noise_given:
            return float(((rest / self.noise) ** 2).sum()) + float(chdtri(1, 1 - confidence))
        freedom = len(self.sizes) - _LEAST_SIZES
        return freedom + float(stdtrit(freedom, (1 + confidence) / 2)) ** 2

    def _squares(self, gains: Floats, n: float) -> Floats:
        """Least weighted sum of squares of all curves with these gains at ``n``, ``(R,)``."""
        log_n = np.log(self.sizes / n)
        weights = np.maximum(self.noise, 1e-150) ** -2

        def squares(gamma: Floats) -> Floats:
            shape = np.exp(-gamma[..., None] * log_n) * (n / gamma[..., None])
            rest = self.loss - gains[:, None, None] * shape
            a = np.maximum((rest @ weights) / weights.sum(), 0.0)
            return ((rest - a[..., None]) ** 2) @ weights

        gamma = _best_gamma(squares, len(gains), self.gamma_bounds)
        return squares(gamma[:, None])[:, 0]

    def to_json(self) -> dict[str, Any]:
        """Parameters, flag and points."""
        points = zip(self.sizes, self.loss, self.noise, strict=True)
        return {
            "a": self.a,
            "b": self.b,
            "gamma": self.gamma,
            "flag": self.flag,
            "points": [{"n": float(n), "loss": float(y), "se": plain(s)} for n, y, s in points],
        }


def fit_curve(
    sizes: ArrayLike,
    loss: ArrayLike,
    se: ArrayLike | None = None,
    *,
    gamma_bounds: tuple[float, float] = GAMMA_BOUNDS,
    name: str = "",
) -> CurveFit:
    r"""The curve ``a + b n^-gamma`` with a, b >= 0 nearest to measured losses.

    Use it on losses of models trained on nested samples and measured on held-out data. Three
    parameters need four or more sizes to be worth much; pass ``se``, which decides how far
    a noisy small evaluation pulls.

    :math:`\min \sum_i (\ell_i - a - b n_i^{-\gamma})^2 / s_i^2`: for each gamma a
    non-negative least-squares problem in closed form, gamma by repeated grids.

    Args:
        sizes: ``(K,)`` numbers of samples, > 0.
        loss: ``(K,)``.
        se: ``(K,)`` standard errors of the losses, > 0; equal ones if not given.
        gamma_bounds: ``(low, high)``, 0 < low < high.
        name: of the group, for messages.

    Raises:
        DataError: for points that are not finite, naming them.
        ParameterError: for bounds out of order.

    Example:
        >>> fit = fit_curve([10, 20, 50, 100], [0.5, 0.4, 0.1 + 1.265 / 50**0.5, 0.2265])
        >>> 0.3 < fit.gamma < 0.7, fit.flag
        (True, '')

    Differs from the paper: ours; a grid over gamma with zooms replaces the one grid of our
    formulation, so that exact points are recovered exactly.

    References:
        Cai et al., 2022, arXiv 2202.01327.
    """
    low, high = check_gamma_bounds(gamma_bounds)
    n, y, noise = _points(sizes, loss, se, name)
    weights = _weights(noise)
    where = f"group {name!r}" if name else "the group"
    flag, bounds = "", (low, high)
    if len(np.unique(n)) < _LEAST_SIZES:
        gamma = min(max(_FALLBACK_GAMMA, low), high)
        warn(
            f"{where} was measured at fewer than {_LEAST_SIZES} sizes; a=0 and gamma={gamma:g} are "
            "assumed."
        )
        b = _slope_through_zero(n**-gamma, y, weights)
        return CurveFit(0.0, b, gamma, "few_sizes", n, y, noise, se is not None, (low, high))
    trend = _trend(n, y, weights)
    if trend > 0:
        warn(f"the loss of {where} rises with more samples; its curve is taken as flat.")
        flag, bounds = "rising", (low, low)
    a, b, gamma = _search(n, y, weights, bounds)
    if b == 0:
        flag, gamma = flag or "flat", low
    if se is None:
        fitted = a + b * n**-gamma
        freedom = len(n) - 3
        spread = float(np.sqrt(np.sum((y - fitted) ** 2) / freedom)) if freedom > 0 else np.nan
        noise = np.full(len(n), spread)
    return CurveFit(a, b, gamma, flag, n, y, noise, se is not None, (low, high))


def _points(
    sizes: ArrayLike, loss: ArrayLike, se: ArrayLike | None, name: str
) -> tuple[Floats, Floats, Floats]:
    n, y = as_floats(sizes, "sizes").ravel(), as_floats(loss, "loss").ravel()
    noise = np.full(len(n), np.nan) if se is None else as_floats(se, "se").ravel()
    source = f"learning curve of {name!r}" if name else "learning curve"
    if not len(n) or not len(n) == len(y) == len(noise):
        raise DataError(
            f"sizes, loss and se must have one length > 0; got {len(n)}, {len(y)}, {len(noise)}.",
            source=source,
        )
    good = np.isfinite(n) & (n > 0) & np.isfinite(y)
    if se is not None:
        good &= np.isfinite(noise) & (noise > 0)
    if not good.all():
        row = int(np.flatnonzero(~good)[0])
        raise DataError(
            f"point {row} cannot be used: size {n[row]:g} and se must be > 0, loss finite; "
            f"got loss {y[row]:g}, se {noise[row]:g}.",
            source=source,
            rows=np.flatnonzero(~good).tolist(),
        )
    return n, y, noise


def _weights(noise: Floats) -> Floats:
    if not np.isfinite(noise).all() or not noise.all():
        return np.ones(len(noise))
    return (noise.min() / noise) ** 2


def _trend(n: Floats, y: Floats, weights: Floats) -> float:
    """Slope of the loss by log n; 0 within rounding."""
    x = np.log(n)
    x = x - weights @ x / weights.sum()
    slope = float((weights * x) @ y) / float((weights * x) @ x)
    return slope if abs(slope) > 1e-12 * np.abs(y).max() else 0.0


def _slope_through_zero(z: Floats, y: Floats, weights: Floats) -> float:
    return max(0.0, float((weights * z) @ y) / float((weights * z) @ z))


def _search(
    n: Floats, y: Floats, weights: Floats, bounds: tuple[float, float]
) -> tuple[float, float, float]:
    """``a``, ``b`` and ``gamma`` of the nearest curve."""
    smallest = n.min()
    log_n = np.log(n / smallest)

    def squares(gamma: Floats) -> Floats:
        return _non_negative(np.exp(-gamma[..., None] * log_n), y, weights)[2]

    gamma = float(_best_gamma(squares, 1, bounds)[0])
    a, b, _ = _non_negative(np.exp(-gamma * log_n), y, weights)
    return float(a), float(b) * smallest**gamma, gamma


def _best_gamma(
    squares: Callable[[Floats], Floats], rows: int, bounds: tuple[float, float]
) -> Floats:
    """Where ``squares`` of gammas ``(R, J)`` is least, ``(R,)``: a grid, then finer ones."""
    low, high = np.full(rows, np.log(bounds[0])), np.full(rows, np.log(bounds[1]))
    steps, row = np.linspace(0.0, 1.0, _GRID), np.arange(rows)
    best = low
    for _ in range(_ZOOMS if bounds[0] < bounds[1] else 1):
        grid = low[:, None] + steps * (high - low)[:, None]
        at = squares(np.exp(grid)).argmin(axis=1)
        best = grid[row, at]
        low, high = grid[row, np.maximum(at - 1, 0)], grid[row, np.minimum(at + 1, _GRID - 1)]
    return np.clip(np.exp(best), *bounds)


def _non_negative(z: Floats, y: Floats, weights: Floats) -> tuple[Floats, Floats, Floats]:
    """``a``, ``b`` >= 0 that minimise ``sum w (y - a - b z)^2`` over the last axis; that sum."""
    total = weights.sum()
    mean_z, mean_y = (z @ weights) / total, (y @ weights) / total
    dz, dy = z - mean_z[..., None], y - mean_y[..., None]
    b = ((dz * dy) @ weights) / np.maximum((dz * dz) @ weights, 1e-300)
    a = mean_y - b * mean_z
    through = np.maximum(((z * y) @ weights) / ((z * z) @ weights), 0.0)
    flat = np.broadcast_to(np.maximum(mean_y, 0.0), b.shape)
    zero = np.zeros_like(b)

    def squares(a: Floats, b: Floats) -> Floats:
        rest = y - a[..., None] - b[..., None] * z
        return (rest * rest) @ weights

    edge_line, edge_flat = squares(zero, through), squares(flat, zero)
    inside = (a >= 0) & (b >= 0)
    line = edge_line <= edge_flat
    a = np.where(inside, a, np.where(line, zero, flat))
    b = np.where(inside, b, np.where(line, through, zero))
    return a, b, np.where(inside, squares(a, b), np.minimum(edge_line, edge_flat))

"""How far weights have travelled: fits of distance against the number of updates."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import DataError
from ..rules import shown


@final
@dataclass(frozen=True, kw_only=True)
class DriftFit:
    """Two laws of the distance d from the initial weights after t updates.

    Args:
        log_intercept: a of ``d = a + b ln t``.
        log_slope: b; larger batches have smaller slopes, the scaled rate brings them back.
        log_r2: share of the variance of d that the logarithm explains.
        power_exponent: c of ``d = p t^c``; one half would be ordinary diffusion.
        power_prefactor: p.
        power_r2: share of the variance of ln d that the power explains.
        n: number of points.
    """

    log_intercept: float
    log_slope: float
    log_r2: float
    power_exponent: float
    power_prefactor: float
    power_r2: float
    n: int

    def to_json(self) -> dict[str, Any]:
        """Plain values, for records."""
        return asdict(self)


def fit_drift(
    step: ArrayLike,
    distance: ArrayLike,
    *,
    first: float = 1.0,
    before: float | None = None,
) -> DriftFit:
    """Least squares of the distance on ln t, and of its logarithm on ln t.

    Use it on the phase of constant learning rate: give the first drop as ``before``. Steps
    below ``first`` and distances of zero (t = 0) are left out.

    Args:
        step: updates t, shape (n,).
        distance: Euclidean distance of all weights from their start, shape (n,).
        first: first step that counts, >= 1.
        before: steps from here on are left out.

    Raises:
        DataError: for unequal lengths, values that are not finite, or fewer than 3 steps.

    Example:
        >>> fit = fit_drift([1, 10, 100], [1.0, 3.0, 5.0])
        >>> round(fit.log_intercept, 6), round(fit.log_slope, 3)
        (1.0, 0.869)

    References:
        Hoffer, Hubara, Soudry, 2017, arXiv 1705.08741 (ultra-slow diffusion).
    """
    t, d = np.asarray(step, dtype=np.float64), np.asarray(distance, dtype=np.float64)
    if t.shape != d.shape or t.ndim != 1:
        raise DataError(f"step and distance must be equally long; got {t.shape} and {d.shape}.")
    if not (np.isfinite(t).all() and np.isfinite(d).all()) or (d < 0).any():
        raise DataError("step and distance must be finite, and no distance negative.")
    kept = (t >= max(first, 1.0)) & (d > 0)
    if before is not None:
        kept &= t < before
    t, d = t[kept], d[kept]
    if len(np.unique(t)) < 3:
        raise DataError(
            f"a fit needs 3 distinct steps >= {shown(first)} with a distance; "
            f"got {len(np.unique(t))}."
        )
    intercept, slope, r2 = _line(np.log(t), d)
    log_prefactor, exponent, power_r2 = _line(np.log(t), np.log(d))
    return DriftFit(
        log_intercept=intercept,
        log_slope=slope,
        log_r2=r2,
        power_exponent=exponent,
        power_prefactor=float(np.exp(log_prefactor)),
        power_r2=power_r2,
        n=len(t),
    )


def drift_record(
    name: str,
    step: ArrayLike,
    distance: ArrayLike,
    *,
    first: float = 1.0,
    before: float | None = None,
) -> dict[str, Any]:
    """Distances with both fitted laws, as a record for ``write_groups_report``.

    Args:
        name: of the training.
        step: updates, shape (n,); of :class:`~pluralign.learn.drift.DriftLog` the ``step`` of
            its rows.
        distance: of the weights from their start, shape (n,).
        first: see :func:`fit_drift`.
        before: see :func:`fit_drift`.

    Raises:
        DataError: as :func:`fit_drift`.

    Example:
        >>> drift_record("batch 32", [1, 10, 100], [1.0, 3.0, 5.0])["points"]
        [[1.0, 1.0], [10.0, 3.0], [100.0, 5.0]]
    """
    fit = fit_drift(step, distance, first=first, before=before)
    points = np.stack([np.asarray(step, np.float64), np.asarray(distance, np.float64)], 1)
    return {"name": name, "points": points.tolist(), "before": before, "fit": fit.to_json()}


def _line(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float, float]:
    """Intercept, slope and R^2 of a least-squares line."""
    centred = x - x.mean()
    slope = float(centred @ (y - y.mean()) / (centred @ centred))
    intercept = float(y.mean() - slope * x.mean())
    left = y - intercept - slope * x
    spread = y - y.mean()
    total = float(spread @ spread)
    r2 = 1.0 if total == 0 else 1 - float(left @ left) / total
    return intercept, slope, r2

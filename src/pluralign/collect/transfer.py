"""Estimate what a sample of one group is worth to another, from models trained on mixes."""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..errors import DataError
from .curves import Floats, PowerCurves, as_floats
from .fitting import GAMMA_BOUNDS

_STARTS = tuple(product((0.0, 0.3, 0.9), (0.3, 0.8)))


class Transfer(NamedTuple):
    """What mixes of groups say of all of them.

    Attributes:
        matrix: ``(G, G)``, worth of a sample of group h (column) to group g (row).
        curves: loss of each group by its effective samples.
        residual: ``(G,)`` root mean squared error of the fit.
    """

    matrix: Floats
    curves: PowerCurves
    residual: Floats


def estimate_transfer(
    counts: ArrayLike,
    losses: ArrayLike,
    *,
    names: tuple[str, ...] = (),
    gamma_bounds: tuple[float, float] = GAMMA_BOUNDS,
) -> Transfer:
    r"""Transfer between groups and curves of effective samples, from K differently mixed models.

    Use it where groups are trained together and help each other: curves fitted without
    transfer then see a fall that other groups' data have caused. It needs mixes that truly
    differ: with all groups growing alike, own and foreign samples cannot be told apart.

    :math:`\mathrm{loss}_g = a_g + b_g (n_g + \sum_{h \ne g} \tau_{gh} n_h)^{-\gamma_g},\
    0 \le \tau \le 1`, by least squares for each group alone.

    Args:
        counts: ``(K, G)`` samples of each group that each model was trained on, > 0 in each row
            in all.
        losses: ``(K, G)`` loss of each group under each model; NaN where not measured.
        names: of the groups.
        gamma_bounds: of the curves.

    Raises:
        DataError: for fewer than G + 2 different mixes of a group, naming it.

    Example:
        >>> n = np.array([[50, 10], [10, 50], [200, 10], [10, 200], [100, 100], [400, 50]])
        >>> worth = n @ np.array([[1.0, 0.0], [0.5, 1.0]])
        >>> found = estimate_transfer(n, 0.1 + worth**-0.5)
        >>> found.matrix.round(3).tolist()
        [[1.0, 0.5], [0.0, 1.0]]

    Differs from the paper: ours.

    References:
        Cai et al., 2022, arXiv 2202.01327.
    """
    n, y = as_floats(counts, "counts"), as_floats(losses, "losses")
    if n.ndim != 2 or n.shape != y.shape:
        raise DataError(f"counts and losses must both be (K, G); got {n.shape} and {y.shape}.")
    good = (n >= 0).all() and np.isfinite(n).all() and (n.sum(1) > 0).all()
    if not good or np.isinf(y).any():
        raise DataError("counts must be finite and >= 0, none of a row all 0; losses not infinite.")
    groups = n.shape[1]
    labels = names or tuple(map(str, range(groups)))
    matrix, rows, residual = np.eye(groups), np.zeros((groups, 3)), np.zeros(groups)
    for group in range(groups):
        there = ~np.isnan(y[:, group])
        mixes = len(np.unique(n[there], axis=0))
        if mixes < groups + 2:
            raise DataError(
                f"group {labels[group]!r} was measured on {mixes} different mixes; transfer from "
                f"{groups - 1} other groups needs {groups + 2} or more."
            )
        tau, rows[group], residual[group] = _one(n[there], y[there, group], group, gamma_bounds)
        matrix[group] = tau
    curves = PowerCurves(rows[:, 0], rows[:, 1], rows[:, 2], names=labels)
    return Transfer(matrix, curves, residual)


def _one(
    n: Floats, y: Floats, group: int, bounds: tuple[float, float]
) -> tuple[Floats, Floats, float]:
    """One group's row of transfer, its ``(a, b, gamma)`` and the residual."""
    from scipy.optimize import least_squares, nnls

    others = [h for h in range(n.shape[1]) if h != group]

    def design(x: Floats) -> Floats:
        worth = n[:, group] + n[:, others] @ x[:-1]
        power = np.maximum(worth, 1e-9) ** -x[-1]
        return np.column_stack([np.ones(len(y)), power])

    def rest(x: Floats) -> Floats:
        columns = design(x)
        return columns @ nnls(columns, y)[0] - y

    low, high = np.zeros(len(others) + 1), np.ones(len(others) + 1)
    low[-1], high[-1] = bounds
    found = [
        least_squares(
            rest,
            np.clip([*[tau] * len(others), gamma], low + 1e-9, high - 1e-9),
            bounds=(low, high),
            x_scale=0.1,
            xtol=1e-12,
            ftol=1e-12,
            gtol=1e-12,
        )
        for tau, gamma in _STARTS
    ]
    best = int(np.argmin([one.cost for one in found]))
    x = np.asarray(found[best].x, dtype=np.float64)
    a, b = nnls(design(x), y)[0]
    tau = np.ones(n.shape[1])
    tau[others] = x[:-1]
    return tau, np.array([a, b, x[-1]]), float(np.sqrt(np.mean(rest(x) ** 2)))

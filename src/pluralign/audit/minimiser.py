"""Does the robust loss have a minimum on these data, or can it fall for ever?"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..errors import DataError, ParameterError
from .intervals import Floats

_NEGLIGIBLE = 1e-9


def has_finite_minimiser(features: ArrayLike, flip_rate: ArrayLike) -> bool:
    """Whether rDPO with margins linear in the features has a finite minimiser.

    Use it on features of the pairs (or last-layer activations) before training with rDPO:
    without a minimum the loss runs to minus infinity and memorises; take
    ``variant="forward"``, ``margin_cap``, a lower rate or fewer epochs then. A network with
    as many parameters as pairs has none.

    There is one iff along every direction v that moves a margin at all, more than a share
    eps of the moved margin mass contradicts the labels:
    ``sum_i max(0, -u_i.v) > sum_i c_i u_i.v`` with ``c = eps / (1 - 2 eps)``. At eps 0 this
    says that the pairs are not separable.

    Args:
        features: ``(n, d)``, rows u = feature(chosen) - feature(rejected).
        flip_rate: in [0, 0.5), one number or ``(n,)``.

    Returns:
        ``False`` also on the boundary, where the loss falls without end towards a limit.

    Raises:
        DataError: if features are not a finite matrix.
        ParameterError: if a rate is out of range or there is not one a row.

    Example:
        >>> has_finite_minimiser([[1.0]] * 35 + [[-1.0]] * 15, 0.2)
        True
        >>> has_finite_minimiser([[1.0]] * 18 + [[-1.0]] * 2, 0.15)
        False

    Differs from the paper: ours; the paper assumes that the minimum exists.

    References:
        Chowdhury et al., 2024, arXiv 2403.00409.
    """
    rows = np.asarray(features, dtype=np.float64)
    if rows.ndim != 2 or not np.isfinite(rows).all():
        raise DataError(f"features must be a finite (n, d) matrix; got shape {rows.shape}.")
    rate = np.asarray(flip_rate, dtype=np.float64)
    if rate.shape not in ((), (len(rows),)) or not ((rate >= 0) & (rate < 0.5)).all():
        raise ParameterError(
            f"flip_rate must be in [0, 0.5), one number or one a row ({len(rows)}); "
            f"got {flip_rate!r}."
        )
    size = np.abs(rows).max(axis=0, initial=0.0)
    rows = rows[:, size > 0] / size[size > 0]  # only the span of v is scaled, no row
    if not rows.size:
        return True
    odds = np.broadcast_to(rate / (1 - 2 * rate), len(rows))
    moved = rows @ _steepest(rows, odds)
    mass = np.abs(moved).sum()
    excess = np.maximum(0.0, -moved).sum() - odds @ moved
    return not (mass > _NEGLIGIBLE * len(rows) and excess <= _NEGLIGIBLE * mass)


def _steepest(rows: Floats, odds: Floats) -> Floats:
    """The direction in the box [-1, 1]^d that gains most among those that lose nothing.

    It is zero on the margins iff no direction other than that keeps the loss from rising:
    with (t)_- = (|t| - t) / 2, ``sum (t_i)_- <= sum c_i t_i`` says ``sum (c_i + 1/2) t_i >=
    sum |t_i| / 2``, which is positive unless all t_i = u_i.v vanish. So one linear programme,
    maximising the left side, decides, the boundary included.
    """
    from scipy.optimize import linprog
    from scipy.sparse import csr_array, eye_array, hstack, vstack

    n, d = rows.shape
    gain = (odds + 0.5) @ rows
    losing = csr_array(np.concatenate([-odds @ rows, np.ones(n)])[None, :] / n)
    slack = hstack([csr_array(-rows), -eye_array(n)])
    found = linprog(
        np.concatenate([-gain / n, np.zeros(n)]),
        A_ub=vstack([losing, slack], format="csc"),
        b_ub=np.zeros(n + 1),
        bounds=[(-1, 1)] * d + [(0, None)] * n,
        method="highs",
        options={"primal_feasibility_tolerance": 1e-10},
    )
    if found.x is None:
        raise DataError(f"the linear programme was not solved: {found.message}")
    direction = found.x[:d]
    return direction / max(np.abs(direction).max(), _NEGLIGIBLE)

"""The Hessian of the multinomial loss on the coefficients in play, kept while it serves."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, cast, final

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import get_lapack_funcs

from .penalties import Flags, Floats

_POTRF, _POTRS = cast(Any, get_lapack_funcs)(("potrf", "potrs"), dtype=np.float64)
_CHUNK = 4096
_LEAST = 1e-9  # probabilities are held above this, in the curvature only
_RIDGE = 1e-10
_OVERHEAD = 2e6  # of a step, in multiplications
_NEAR = 0.1
_SKINNY = 4.0  # products with a few classes run at a fraction of the speed of square ones


@final
class Curvature:
    """Solves with H = sum_i w_i x_i x_i' (x) (diag p_i - p_i p_i') on chosen coefficients.

    Args:
        x: (columns, rows), shared with the solver.
        weights: (rows,), summing to 1.
    """

    def __init__(self, x: Floats, weights: Floats) -> None:
        self._x, self._weights = x, weights
        self._p = np.empty((0, 0))
        self._columns: NDArray[Any] = np.empty(0, int)
        self._classes: NDArray[Any] = np.empty(0, int)
        self._matrix = np.empty((0, 0))
        self._place: NDArray[Any] = np.empty((0, 0), int)
        self._last = math.inf
        self._ratio = 0.0
        self._factor: tuple[NDArray[Any], Floats, Floats] | None = None

    def begin(self) -> None:
        """Forget the last residual: another strength follows."""
        self._last = math.inf

    def choose(self, active: Flags, p: Floats, residual: float, tol: float) -> None:
        """Keep the matrix, extended to the active coefficients, or make it anew."""
        if math.isfinite(self._last):
            self._ratio = residual / self._last
        self._last = residual
        count = int(active.sum())
        if not self._p.size or self._costly(count, active, residual, tol):
            self._p, self._ratio = np.maximum(p, _LEAST), 0.0
            self._columns = self._classes = np.empty(0, int)
            self._matrix = np.empty((0, 0))
            self._place = np.full(active.shape, -1)
            self._factor = None
        self._extend(active)

    def _costly(self, count: int, active: Flags, residual: float, tol: float) -> bool:
        """Whether going on with the old matrix costs more than a new one."""
        rows = self._x.shape[1]
        step = _SKINNY * 4.0 * rows * active.size + _OVERHEAD
        anew = 1.4 * rows * count**2 + count**3 / 3
        if anew < step:
            return residual < _NEAR
        if not 0 < self._ratio < 0.9:
            return self._ratio > 0
        more = math.log(residual / tol) / -math.log(self._ratio)
        return (more - 2) * step > anew

    def _extend(self, active: Flags) -> None:
        if self._place.shape != active.shape:
            grown = np.full(active.shape, -1)
            grown[:, : self._place.shape[1]] = self._place
            self._place = grown
        classes, columns = np.nonzero(active & (self._place < 0))
        if not len(columns):
            return
        old, new = len(self._columns), len(columns)
        self._place[classes, columns] = np.arange(old, old + new)
        self._columns = np.concatenate([self._columns, columns])
        self._classes = np.concatenate([self._classes, classes])
        if not old:
            self._matrix = self._whole()
            return
        grown = np.empty((old + new, old + new))
        grown[:old, :old] = self._matrix
        grown[old:] = self._rows(old)
        grown[:old, old:] = grown[old:, :old].T
        self._matrix = grown

    def _whole(self) -> Floats:
        """The matrix on all coefficients, which are ordered by class; a chunk of rows at a time."""
        found = np.zeros((len(self._columns), len(self._columns)))
        bounds = np.searchsorted(self._classes, np.arange(int(self._classes[-1]) + 2))
        for start in range(0, self._x.shape[1], _CHUNK):
            rows = slice(start, start + _CHUNK)
            root = np.sqrt(self._p[:, rows])[self._classes]
            x = self._x[:, rows][self._columns] * np.sqrt(self._weights[rows]) * root
            for first, last in pairwise(bounds.tolist()):
                found[first:last, first:last] += x[first:last] @ x[first:last].T
            x *= root
            found -= x @ x.T
        return found

    def _rows(self, old: int) -> Floats:
        """Rows of the matrix for coefficients that came later."""
        columns, classes = self._columns[old:], self._classes[old:]
        found = np.empty((len(columns), len(self._columns)))
        x = self._x[columns] * self._p[classes] * self._weights
        front = self._x[: self._place.shape[1]]
        for k, p in enumerate(self._p):
            those = self._classes == k
            bent = x * ((classes == k)[:, None] - p)
            found[:, those] = (bent @ front.T)[:, self._columns[those]]
        return found

    def solve(self, active: Flags, gradient: Floats, ridge: Floats, bends: Floats | None) -> Floats:
        """The Newton step (classes, columns), zero where not active.

        Args:
            active: coefficients to move.
            gradient: of the objective.
            ridge: added to the diagonal, per column.
            bends: curvature of the penalty, (columns, classes, classes).
        """
        classes, columns = np.nonzero(active)
        place, extra = self._place[classes, columns], ridge[columns] + _RIDGE
        step = np.zeros(active.shape)
        known = None if bends is not None else self._factor
        if known is None or not (_same(known[0], place) and _same(known[1], extra)):
            matrix = self._matrix[np.ix_(place, place)]
            if bends is not None:
                shared = columns[:, None] == columns
                matrix += shared * bends[columns[:, None], classes[:, None], classes]
            np.einsum("ii->i", matrix)[:] += extra
            known = self._factor = place, extra, factorised(matrix)
        step[classes, columns] = -_POTRS(known[2], gradient[classes, columns], lower=1)[0]
        return step


def _same(one: NDArray[Any], other: NDArray[Any]) -> bool:
    return one.shape == other.shape and bool((one == other).all())


def factorised(matrix: Floats) -> Floats:
    """Cholesky factor of a symmetric matrix, its diagonal grown until it is positive definite."""
    more = 0.0
    while True:
        factor, failed = _POTRF(matrix.T, lower=1, clean=0)
        if not failed:
            return factor
        more = max(10 * more, 1e-9 * float(np.abs(matrix).max()), 1e-12)
        matrix = matrix + more * np.eye(len(matrix))

"""Penalised multinomial regression at one strength after another, by Newton steps.

The loss and the penalty share one convex objective (see :class:`Solver`). Each step solves
the quadratic model on the coefficients that are not zero or ask to leave zero, with their
signs held, and a line search on the objective itself accepts it. Two things make it fast:

- columns that can matter (by the strong rule of Tibshirani et al., 2012) are kept together
  at the front of the matrix, so that no step touches or copies the others;
- the Hessian is kept from step to step, and from strength to strength, for as long as
  steps with the old one cost less than a new one. Any positive definite matrix gives a
  descent direction, so this changes the number of steps and not the solution.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from .hessian import Curvature
from .penalties import Flags, Floats, Grouped, Penalty, Single, excess, unit_slopes

_ALL_COLUMNS = 2_000_000  # a matrix of this many values is not worth screening
_MAX_STEPS = 200
_HALVINGS = 10
_PATIENCE = 20  # steps that better nothing
_ROUNDING = 4e-15
_LARGE, _SLICE = 1_000_000, 12


def _against(rows: Floats, x: Floats) -> Floats:
    """``rows @ x.T``: few rows against many columns, a few columns at a time.

    A product this skinny is bound by memory; in slices it takes about half the time.
    """
    if x.size < _LARGE:
        return rows @ x.T
    return np.concatenate([rows @ x[i : i + _SLICE].T for i in range(0, len(x), _SLICE)], axis=1)


def _along(table: Floats, x: Floats) -> Floats:
    """``table @ x``, a few columns at a time."""
    if x.size < _LARGE:
        return table @ x
    found = np.zeros((len(table), x.shape[1]))
    for i in range(0, len(x), _SLICE):
        found += table[:, i : i + _SLICE] @ x[i : i + _SLICE]
    return found


@final
@dataclass(frozen=True)
class Fit:
    """The solution at one strength, on the scale of the solver's columns.

    Attributes:
        strength: lambda.
        intercept: (classes,).
        table: coefficients, (classes, columns).
        loss: mean weighted negative log-likelihood.
        residual: largest violation of the optimality conditions, over lambda.
        steps: Newton steps taken.
    """

    strength: float
    intercept: Floats
    table: Floats
    loss: float
    residual: float
    steps: int


class _Point(NamedTuple):
    """What a step needs to know of where it starts, on the columns in front."""

    table: Floats
    gradient: Floats
    weight: Floats
    ridge: Floats
    slopes: Floats
    total: Floats
    excess: Floats


@final
class Solver:
    """Minimises -sum_i w_i log p_i + lambda sum_j v_j [alpha h(b_j) + (1 - alpha)/2 |b_j|^2].

    ``h`` is the absolute sum or, grouped, the Euclidean norm of a column's coefficients;
    weights sum to 1; intercepts are free. It keeps its place, so that the next strength
    starts where the last ended.

    Args:
        columns: (columns, rows), as the penalty shall see them.
        codes: class of each row, (rows,) of 0 to classes - 1.
        n_classes: number of classes.
        weights: (rows,), >= 0; scaled to sum to 1.
        factors: v, (columns,), >= 0.
        alpha: in (0, 1].
        grouped: whether a column enters for all classes at once.

    Example:
        >>> x = np.array([[-1.0, -0.5, 0.5, 1.0]])
        >>> solver = Solver(x, np.array([0, 1, 0, 1]), 2, np.ones(4), np.ones(1))
        >>> fit = solver.solve(0.05)
        >>> bool(fit.residual < 1e-7), fit.table.shape
        (True, (2, 1))
    """

    def __init__(
        self,
        columns: Floats,
        codes: NDArray[Any],
        n_classes: int,
        weights: Floats,
        factors: Floats,
        *,
        alpha: float = 1.0,
        grouped: bool = False,
    ) -> None:
        count, rows = columns.shape
        self._x = np.empty((count + 1, rows))
        self._x[0], self._x[1:] = 1.0, columns
        self._weights = weights / weights.sum()
        self._hits = np.zeros((n_classes, rows))
        self._hits[codes, np.arange(rows)] = 1.0
        self._factors = np.concatenate([[0.0], factors])
        self._alpha = alpha
        self._penalty: Penalty = Grouped() if grouped else Single()
        self._free_shift = alpha == 1.0 and not grouped
        self._order = np.arange(count + 1)
        self._table = np.zeros((n_classes, count + 1))
        shares = self._hits @ self._weights
        self._table[:, 0] = np.log(np.maximum(shares, 1e-300))
        self._width = count + 1 if columns.size <= _ALL_COLUMNS else 1
        self._eta = np.repeat(self._table[:, :1], rows, axis=1)
        self._loss, self._p = self._likelihood(self._eta)
        self._moments = self._x**2 @ self._weights
        self._curvature = Curvature(self._x, self._weights)
        self.null_loss = self._loss
        self._trail: list[tuple[float, Floats]] = []
        self._widen(self._factors == 0)

    def solve(self, strength: float, tol: float = 1e-7) -> Fit:
        """The solution at ``strength``, its optimality violated by at most ``tol`` of it."""
        self._lean(strength)
        steps = 0
        while True:
            more, point = self._descend(strength, tol)
            steps += more
            if self._width < len(self._x):
                point = self._point(strength, len(self._x))
            left_out = point.excess.max(0) > tol * strength
            left_out[: self._width] = False
            if not left_out.any():
                break
            self._widen(left_out)
        table = np.empty_like(self._table)
        table[:, self._order] = self._table
        self._trail = [*self._trail[-1:], (strength, table)]
        return Fit(
            strength,
            table[:, 0] - table[:, 0].mean(),
            table[:, 1:],
            self._loss,
            float(point.excess.max()) / strength,
            steps,
        )

    def strongest(self) -> float:
        """The smallest lambda at which every penalised coefficient is 0; to ask at the start."""
        free = self._factors == 0
        if free.sum() > 1:
            self.solve(1e6, 1e-13)
        asked = self._penalty.size(self._point(0.0, len(self._x)).gradient)
        factors = np.where(self._factors == 0, np.inf, self._factors)
        return float((asked / (factors * self._alpha)).max())

    def expect(self, strength: float, last: float) -> None:
        """Make room for what the strong rule lets enter between two strengths."""
        if self._width < len(self._x):
            asked = self._penalty.size(self._point(last, len(self._x)).gradient)
            self._widen(asked >= self._alpha * self._factors * (2 * strength - last))

    def _lean(self, strength: float) -> None:
        """Start where the last two solutions point, if that is better.

        Between kinks the path is smooth in lambda: this saves a step at most strengths.
        """
        if len(self._trail) < 2:
            return
        (first, one), (second, other) = self._trail
        if not strength < second < first:
            return
        front = self._order[: self._width]
        table, factors = self._table[:, : self._width], self._factors[: self._width]
        moved = table + (second - strength) / (first - second) * (other - one)[:, front]
        turned = (self._penalty.inner(table, moved) <= 0) & (factors > 0)
        moved = np.where(turned, 0.0, moved)
        weight, ridge = strength * self._alpha * factors, strength * (1 - self._alpha) * factors
        eta = self._eta + _along(moved - table, self._x[: self._width])
        loss, p = self._likelihood(eta)
        value = loss + self._penalised(moved, weight, ridge)
        if value < self._loss + self._penalised(table, weight, ridge):
            self._eta, self._loss, self._p = eta, loss, p
            self._table[:, : self._width] = self._centred(moved, factors == 0)

    def _descend(self, strength: float, tol: float) -> tuple[int, _Point]:
        """Newton steps on the columns in front until they are optimal."""
        self._curvature.begin()
        point, least, stalled = self._point(strength, self._width), np.inf, 0
        for step in range(_MAX_STEPS):
            residual = float(point.excess.max()) / strength
            if residual <= tol or stalled > _PATIENCE:
                return step, point
            active = self._active(point, tol * strength)
            self._curvature.choose(active, self._p, residual, tol)
            gain = self._advance(point, active)
            if gain is None:
                return step, point
            stalled = 0 if gain or residual < least else stalled + 1
            least = min(least, residual)
            point = self._point(strength, self._width)
        return _MAX_STEPS, point

    def _point(self, strength: float, width: int) -> _Point:
        table, factors = self._table[:, :width], self._factors[:width]
        weight, ridge = strength * self._alpha * factors, strength * (1 - self._alpha) * factors
        gradient = _against((self._p - self._hits) * self._weights, self._x[:width])
        if self._alpha < 1:
            gradient += ridge * table
        slopes = unit_slopes(self._penalty, table, gradient)
        total = gradient + weight * slopes
        beyond = excess(self._penalty, table, total, slopes)
        return _Point(table, gradient, weight, ridge, slopes, total, beyond)

    def _advance(self, point: _Point, active: Flags) -> bool | None:
        """One step; whether the objective fell by more than rounding, None if none was found."""
        value = self._loss + self._penalised(point.table, point.weight, point.ridge)
        noise = _ROUNDING * abs(value)
        for moved in self._candidates(point, self._direction(point, active)):
            penalised = self._penalised(moved, point.weight, point.ridge)
            change = moved - point.table
            promised = (
                float((point.gradient * change).sum())
                + penalised
                - (value - self._loss)
                - float((change * (point.table + change / 2)).sum(0) @ point.ridge)
            )
            if promised >= noise:
                continue
            eta = self._eta + _along(change, self._x[: self._width])
            loss, p = self._likelihood(eta)
            if loss + penalised <= value + 1e-4 * min(promised, 0.0) + noise:
                self._eta, self._loss, self._p = eta, loss, p
                self._table[:, : self._width] = self._centred(moved, point.weight == 0)
                return loss + penalised < value - noise
        return None

    def _candidates(self, point: _Point, step: Floats) -> Iterator[Floats]:
        """The step and shares of it, what passes zero put on it; then what blocks it, alone."""
        penalised = point.weight > 0
        crossing = (self._penalty.inner(point.table, point.table + step) < 0) & penalised
        crossing = crossing & (point.table != 0)
        for halvings in range(40):
            moved = point.table + 0.5**halvings * step
            moved[(self._penalty.inner(point.table, moved) < 0) & penalised & (moved != 0)] = 0.0
            yield moved
            if halvings == _HALVINGS and crossing.any():
                # A proximal step on what wants to turn around always descends.
                bend = 0.5 * float(crossing.any(0) @ self._moments[: self._width])
                aim = point.table - point.gradient / bend
                length = self._penalty.magnitude(aim)
                kept = np.maximum(0.0, 1 - point.weight / bend / np.where(length > 0, length, 1.0))
                yield np.where(crossing, aim * kept, point.table)

    def _direction(self, point: _Point, active: Flags) -> Floats:
        """The Newton step; coefficients at zero that it would push back stay out of it."""
        bends = self._penalty.curvature(point.table, point.slopes, point.weight)
        at_zero = (self._penalty.magnitude(point.table) == 0) & (point.weight > 0)
        while True:
            step = self._curvature.solve(active, point.total, point.ridge, bends)
            against = active & at_zero & (self._penalty.inner(step, point.slopes) < 0)
            if not against.any():
                return step
            active = active & ~against

    def _penalised(self, table: Floats, weight: Floats, ridge: Floats) -> float:
        value = float((self._penalty.magnitude(table) @ weight).sum())
        if self._alpha < 1:
            value += 0.5 * float((table**2).sum(0) @ ridge)
        return value

    def _active(self, point: _Point, least: float) -> Flags:
        """Coefficients of a step: not zero, asking, or free; never a whole free shift."""
        in_play = np.where((point.table != 0) | (point.excess > least), 1.0, 0.0)
        # What is penalised together moves together.
        active = np.broadcast_to(self._penalty.magnitude(in_play) > 0, in_play.shape).copy()
        free = point.weight == 0
        active[:-1, free] = True
        active[-1, free] = False
        if self._free_shift:
            whole = np.flatnonzero(active.all(0))
            if whole.size:
                # Of several zeros, the one that asks least stays out.
                asks = np.abs(point.table[:, whole]) + 1e-9 * np.abs(point.gradient[:, whole])
                active[asks.argmin(0), whole] = False
        return active

    def _centred(self, table: Floats, free: Flags) -> Floats:
        """Columns shifted, where that lowers the sum of absolute values: 0 is a median."""
        if not self._free_shift:
            return table
        # Equal counts of both signs leave |sum of signs| below the count of zeros.
        signs = np.sign(table)
        uneven = (np.abs(signs.sum(0)) > (signs == 0).sum(0)) & ~free
        if uneven.any():
            ordered = np.sort(table[:, uneven], axis=0)
            low, high = ordered[(len(table) - 1) // 2], ordered[len(table) // 2]
            table[:, uneven] -= np.where(low > 0, low, high)
        return table

    def _likelihood(self, eta: Floats) -> tuple[float, Floats]:
        top = eta.max(0)
        p = np.exp(eta - top)
        total = p.sum(0)
        loss = (np.log(total) + top - (eta * self._hits).sum(0)) @ self._weights
        p /= total
        return float(loss), p

    def _widen(self, wanted: Flags) -> None:
        """Bring columns to the front, each in exchange for one that stood there."""
        for column in np.flatnonzero(wanted).tolist():
            if column < self._width:
                continue
            pair, swapped = np.array([self._width, column]), np.array([column, self._width])
            self._x[pair] = self._x[swapped]
            self._factors[pair] = self._factors[swapped]
            self._moments[pair] = self._moments[swapped]
            self._order[pair] = self._order[swapped]
            self._table[:, pair] = self._table[:, swapped]
            self._width += 1

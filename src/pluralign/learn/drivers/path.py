"""The multinomial lasso path: standardise, walk down the strengths, write coefficients back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, final

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError, ParameterError
from ...rules import AnyOf, OneOf, Within, check
from .newton import Fit, Solver
from .penalties import Floats

_LEAST_POINTS = 5
_GAIN = 1e-5
_STRIDE, _ROUGH = 0.5, 1e-2
_SATURATED = 0.999


@final
@dataclass(frozen=True)
class Path:
    """Solutions at descending strengths.

    Coefficients are canonical: intercepts sum to 0 and, for the ungrouped lasso, 0 is the
    midpoint of the median interval of each column's coefficients. With an even number of
    classes a shift of a column over the classes can be free, so contrasts between classes
    mean more than single coefficients.

    Attributes:
        lambdas: strengths, descending, (L,).
        intercepts: on standardised columns, (L, classes).
        tables: coefficients of standardised columns, (L, classes, columns).
        losses: mean negative log-likelihood, nats, (L,).
        null_loss: that of class shares alone.
        residuals: largest violation of optimality over lambda, (L,).
        mean: of each column, (columns,).
        scale: divisor of each column, (columns,).
        note: why the path ended early, or empty.
    """

    lambdas: Floats
    intercepts: Floats
    tables: Floats
    losses: Floats
    null_loss: float
    residuals: Floats
    mean: Floats
    scale: Floats
    note: str = ""

    @property
    def explained(self) -> Floats:
        """Share of the null deviance that is explained, (L,)."""
        return 1 - self.losses / self.null_loss

    def raw(self, index: int) -> tuple[Floats, Floats]:
        """Intercepts (classes,) and coefficients (classes, columns) for columns as given."""
        table = self.tables[index] / self.scale
        intercept = self.intercepts[index] - table @ self.mean
        return intercept - intercept.mean(), table

    def log_probabilities(self, x: Floats) -> Floats:
        """Of rows ``x (n, columns)`` as given, at every strength, (L, n, classes)."""
        scaled = (x - self.mean) / self.scale
        eta = scaled @ self.tables.transpose(0, 2, 1) + self.intercepts[:, None]
        eta -= eta.max(-1, keepdims=True)
        return eta - np.log(np.exp(eta).sum(-1, keepdims=True))


@final
@dataclass(frozen=True, kw_only=True)
class MultinomialLasso:
    """Multinomial regression with a sparse penalty, for all strengths at once.

    Use it where a graded outcome depends on some of many columns. Not with ``alpha`` near 0,
    which selects nothing, nor where rows are fewer than the columns that matter::

        -(1/n) sum_i w_i log p_{i,y_i}
            + lambda sum_j v_j [alpha sum_k |b_jk| + (1 - alpha)/2 sum_k b_jk^2]

    with weights that sum to n; ``penalty="grouped"`` has the norm of (b_j1..b_jK) in place of
    the absolute sum, so that a column enters for all classes or none. Classes are treated
    alike; there is no reference class.

    Args:
        penalty: ``"ungrouped"`` or ``"grouped"``.
        alpha: share of the lasso in (0, 1].
        n_lambdas: points of the path, >= 2.
        lambda_ratio: last over first strength in (0, 1); ``None`` is 1e-4, or 1e-2 where columns
            are not fewer than rows.
        tol: optimality is violated by at most this share of lambda.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(60, 4))
        >>> path = MultinomialLasso(n_lambdas=20).path(x, (x[:, 0] > 0).astype(int), 2)
        >>> bool((path.tables[0] == 0).all()), bool(path.residuals.max() <= 1e-7)
        (True, True)

    References:
        Friedman, Hastie and Tibshirani, 2010, Regularization paths for generalized linear
        models via coordinate descent, Journal of Statistical Software 33(1).
    """

    penalty: Annotated[Literal["ungrouped", "grouped"], OneOf("ungrouped", "grouped")] = "ungrouped"
    alpha: Annotated[float, Within(0.0, 1.0, closed="right")] = 1.0
    n_lambdas: Annotated[int, Within(2, integer=True)] = 100
    lambda_ratio: Annotated[float | None, AnyOf(Within(0.0, 1.0, closed="neither"), None)] = None
    tol: Annotated[float, Within(0.0, closed="neither")] = 1e-7

    def __post_init__(self) -> None:
        check(self)

    def path(
        self,
        x: Floats,
        codes: NDArray[Any],
        n_classes: int,
        *,
        weights: Floats | None = None,
        factors: Floats | None = None,
        lambdas: Floats | None = None,
        scaled: NDArray[np.bool_] | None = None,
        tol: float | None = None,
    ) -> Path:
        """Solve at every strength.

        Args:
            x: rows, (n, columns).
            codes: class of each row, 0 to ``n_classes`` - 1; each occurs.
            n_classes: number of classes.
            weights: of rows, (n,), >= 0; all 1 by default.
            factors: v, of the penalty of each column, (columns,), >= 0; all 1 by default.
            lambdas: strengths to solve at; by default a descending grid that ends early
                where nothing more is explained.
            scaled: columns to divide by their deviation; all by default.
            tol: in place of the object's.

        Returns:
            The path, strengths descending.

        Raises:
            DataError: for a class without weight, or no column to penalise.
        """
        rows, count = x.shape
        weights = np.ones(rows) if weights is None else weights
        factors = np.ones(count) if factors is None else factors
        mass = np.bincount(codes, weights, n_classes)
        if not (mass > 0).all():
            raise DataError(f"class {int(mass.argmin())} has no weight; remove it or its rows.")
        if not count or not (factors > 0).any():
            raise DataError("there is no column to penalise; give at least one.")
        mean, scale = standardisation(x, weights, scaled)
        solver = Solver(
            ((x - mean) / scale).T,
            codes,
            n_classes,
            weights,
            factors,
            alpha=self.alpha,
            grouped=self.penalty == "grouped",
        )
        grid = self._grid(solver, rows > count) if lambdas is None else _descending(lambdas)
        fits, note = _walk(solver, grid, self.tol if tol is None else tol, lambdas is None)
        tables = np.stack([fit.table for fit in fits])
        if self.penalty == "ungrouped" and self.alpha == 1:
            tables = canonical(tables)
        return Path(
            np.array([fit.strength for fit in fits]),
            np.stack([fit.intercept for fit in fits]),
            tables,
            np.array([fit.loss for fit in fits]),
            solver.null_loss,
            np.array([fit.residual for fit in fits]),
            mean,
            scale,
            note,
        )

    def _grid(self, solver: Solver, tall: bool) -> Floats:
        ratio = self.lambda_ratio or (1e-4 if tall else 1e-2)
        top = solver.strongest()
        # Columns without any relation to the outcome leave rounding error as their lambda.
        return max(top, 1e-12) * np.geomspace(1.0, ratio, self.n_lambdas)


def _walk(solver: Solver, grid: Floats, tol: float, may_end: bool) -> tuple[list[Fit], str]:
    fits: list[Fit] = []
    before, note = max(solver.strongest(), float(grid[0])), ""
    for strength in grid.tolist():
        while strength < _STRIDE * before:
            # Newton steps are sure only near a solution: come down in strides.
            solver.expect(_STRIDE * before, before)
            before *= _STRIDE
            solver.solve(before, _ROUGH)
        solver.expect(strength, before)
        fits.append(solver.solve(strength, tol))
        before = strength
        if not may_end or len(fits) < _LEAST_POINTS:
            continue
        explained, last = (1 - fit.loss / solver.null_loss for fit in (fits[-1], fits[-2]))
        if explained > _SATURATED:
            note = f"ended at lambda {strength:.3g}: the classes are all but separated"
        elif explained - last < _GAIN * explained:
            note = f"ended at lambda {strength:.3g}: less explains no more"
        if note:
            break
    return fits, note


def _descending(lambdas: Floats) -> Floats:
    grid = np.sort(np.asarray(lambdas, np.float64).ravel())[::-1]
    if not grid.size or not np.isfinite(grid).all() or grid[-1] <= 0:
        raise ParameterError(f"lambdas must be finite numbers > 0; got {grid.tolist()[:5]}.")
    return grid


def standardisation(
    x: Floats, weights: Floats, scaled: NDArray[np.bool_] | None = None
) -> tuple[Floats, Floats]:
    """Weighted mean and deviation (divided by n) of columns; 1 where constant or not scaled."""
    share = weights / weights.sum()
    mean = share @ x
    deviation = np.sqrt(share @ (x - mean) ** 2)
    constant = deviation <= 1e-14 * np.maximum(np.abs(mean), 1e-300)
    deviation = np.where(constant, 1.0, deviation)
    return mean, deviation if scaled is None else np.where(scaled, deviation, 1.0)


def canonical(tables: Floats) -> Floats:
    """Coefficients shifted over the classes, the axis before the last, to their median's middle.

    Example:
        >>> canonical(np.array([[3.0], [1.0]])).tolist()
        [[1.0], [-1.0]]
    """
    return tables - np.median(tables, axis=-2, keepdims=True)

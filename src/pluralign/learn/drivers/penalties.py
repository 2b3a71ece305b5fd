"""Penalties of a coefficient table, one row for each class: single coefficients or columns.

Both are lambda v_j times a magnitude, of a coefficient or of a column, and the Newton
steps need only to know what belongs together: the rest follows from inner products.
"""

from __future__ import annotations

from typing import Protocol, final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_NEAR_ZERO = 1e-6


class Penalty(Protocol):
    """What the Newton steps ask of a penalty; tables are (classes, columns)."""

    def inner(self, one: Floats, other: Floats) -> Floats:
        """Inner product over what is penalised together: the shape of a table, or one row."""
        ...

    def magnitude(self, table: Floats) -> Floats:
        """Root of the inner product with itself."""
        ...

    def size(self, gradient: Floats) -> Floats:
        """How strongly each column asks to leave zero, (columns,)."""
        ...

    def curvature(self, table: Floats, slopes: Floats, weight: Floats) -> Floats | None:
        """Second derivative of the penalty in each column, (columns, classes, classes)."""
        ...


@final
class Single:
    """Each coefficient by itself: sum_j v_j sum_k |b_jk|."""

    def inner(self, one: Floats, other: Floats) -> Floats:
        """Products."""
        return one * other

    def magnitude(self, table: Floats) -> Floats:
        """Absolute values."""
        return np.abs(table)

    def size(self, gradient: Floats) -> Floats:
        """Largest absolute value in each column."""
        return np.abs(gradient).max(0)

    def curvature(self, table: Floats, slopes: Floats, weight: Floats) -> None:
        """None: an absolute value is straight on either side."""
        return None


@final
class Grouped:
    """All classes of a column together: sum_j v_j ||b_j||."""

    def inner(self, one: Floats, other: Floats) -> Floats:
        """Inner product of each column, (1, columns)."""
        return (one * other).sum(0, keepdims=True)

    def magnitude(self, table: Floats) -> Floats:
        """Norm of each column, (1, columns)."""
        return np.sqrt(self.inner(table, table))

    def size(self, gradient: Floats) -> Floats:
        """Norm of each column, (columns,)."""
        return self.magnitude(gradient)[0]

    def curvature(self, table: Floats, slopes: Floats, weight: Floats) -> Floats:
        """``weight (I - u u') / norm``; a column at zero is held to the line it enters along."""
        norms = np.maximum(self.size(table), _NEAR_ZERO)
        outer = slopes.T[:, :, None] * slopes.T[:, None, :]
        return (weight / norms)[:, None, None] * (np.eye(len(table)) - outer)


def unit_slopes(penalty: Penalty, table: Floats, gradient: Floats) -> Floats:
    """Gradient of the magnitudes; where they are zero, of the way the loss falls."""
    magnitude = penalty.magnitude(table)
    towards = np.where(magnitude == 0, -gradient, table)
    length = penalty.magnitude(towards)
    return towards / np.where(length == 0, 1.0, length)


def excess(penalty: Penalty, table: Floats, total: Floats, slopes: Floats) -> Floats:
    """By how much each coefficient violates optimality.

    Args:
        penalty: what belongs together.
        table: coefficients.
        total: gradient of the loss plus weighted slopes.
        slopes: of :func:`unit_slopes`.
    """
    held = (penalty.magnitude(table) == 0) & (penalty.inner(total, slopes) >= 0)
    return np.where(held, 0.0, np.abs(total))

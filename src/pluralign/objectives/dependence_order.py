"""Sums over pairs of rows when the prediction is one number: everything from one sort.

With one-dimensional predictions and distances to the first power, value and gradient of
every measure need of the attributes' distances ``w`` only two sums for each row,
``rows_k = sum_l w_kl`` and ``signed_k = sum_l w_kl sgn(yhat_k - yhat_l)``. The files
beside this one compute these two in the way that suits the attributes.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

Estimator = Literal["u", "v"]


class Sums(NamedTuple):
    """What value and gradient need of the attributes; shape ``(n,)``, by ascending prediction.

    Attributes:
        rows: ``sum_l w_kl``; without the diagonal for the U estimator.
        signed: ``sum_l w_kl sgn(yhat_k - yhat_l)``; ties count as zero.
    """

    rows: Tensor
    signed: Tensor


class Order(NamedTuple):
    """Predictions in ascending order, with the span of every tie.

    Attributes:
        values: ``(n,)`` float64, ascending, their mean subtracted.
        rows: ``(n,)`` the row that each one came from.
        first: ``(n,)`` position of the first equal value.
        last: ``(n,)`` one past the position of the last equal value.
    """

    values: Tensor
    rows: Tensor
    first: Tensor
    last: Tensor

    @classmethod
    def of(cls, yhat: Tensor) -> Order:
        """The order of predictions ``(n,)``; ties keep the order of their rows."""
        values, rows = torch.sort(yhat.double(), stable=True)
        values = values - values.mean()
        first = torch.searchsorted(values, values)
        last = torch.searchsorted(values, values, right=True)
        return cls(values, rows, first, last)

    def signed(self, terms: Tensor) -> Tensor:
        """``sum_l terms_l sgn(yhat_k - yhat_l)``, shape ``(n,)``, of terms in this order."""
        before = prefix(terms)
        return before[self.first] + before[self.last] - before[-1]

    def back(self, sorted_values: Tensor) -> Tensor:
        """Values in this order, returned to the order of the rows."""
        result = torch.empty_like(sorted_values)
        result[self.rows] = sorted_values
        return result


def prefix(terms: Tensor) -> Tensor:
    """Sums before each position along the last dimension, and the total: ``(..., n + 1)``."""
    return torch.nn.functional.pad(terms.cumsum(-1), (1, 0))


def norm(n: int, estimator: Estimator) -> float:
    """The factor before the double sum: ``1/n^2``, or ``1/(n (n - 3))`` without bias."""
    return 1 / n**2 if estimator == "v" else 1 / (n * (n - 3))


def shares(rows: Tensor, n: int, estimator: Estimator, counts: Tensor | None = None) -> Tensor:
    """What centring subtracts of a matrix for each row: ``w_kl - share_k - share_l``.

    Args:
        rows: row sums, of all rows or of one row of each cell.
        n: number of all rows.
        estimator: ``"u"`` or ``"v"``.
        counts: rows of each cell, where ``rows`` are of cells.
    """
    total = rows.sum() if counts is None else rows @ counts
    if estimator == "v":
        return rows / n - total / (2 * n**2)
    return rows / (n - 2) - total / (2 * (n - 1) * (n - 2))


def slope(order: Order, sums: Sums, estimator: Estimator) -> Tensor:
    """Gradient ``(n,)`` of ``norm * sum_kl |yhat_k - yhat_l| W_kl`` with ``w`` centred to ``W``.

    In the order of the predictions. The value is its product with the predictions.
    """
    n = len(order.values)
    share = shares(sums.rows, n, estimator)
    signs = order.first + order.last - n
    inner = sums.signed - share * signs - order.signed(share)
    return 2 * norm(n, estimator) * inner


def variance(rows: Tensor, squares: Tensor, estimator: Estimator) -> Tensor:
    """Squared distance variance from row sums ``(n,)`` and the sum of squared distances."""
    n = len(rows)
    total = rows.sum()
    if estimator == "v":
        return squares / n**2 + (total / n**2) ** 2 - 2 * rows.square().sum() / n**3
    inner = squares - 2 * rows.square().sum() / (n - 2) + total**2 / ((n - 1) * (n - 2))
    return inner / (n * (n - 3))

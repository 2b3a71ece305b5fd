"""Any attributes and any predictions: block by block, no matrix of all pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from .dependence_order import Estimator, Order, Sums, norm, shares

Block = Callable[[slice, slice], Tensor]
"""Values ``(a, b)`` between two ranges of rows of a symmetric matrix."""


def distances(left: Tensor, right: Tensor, exponent: float = 1.0) -> Tensor:
    """Euclidean distances ``(a, b)`` to a power, by differences.

    The product form of ``cdist`` is off by half the mean distance on 2,000 predictions
    around one, in float32; so it is never used.
    """
    found = torch.cdist(left, right, compute_mode="donot_use_mm_for_euclid_dist")
    return found if exponent == 1 else found.pow_(exponent)


def spans(n: int, size: int) -> Iterator[slice]:
    """Consecutive ranges of at most ``size`` rows."""
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def row_sums(block: Block, n: int, size: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Row sums ``(n,)`` of a symmetric matrix and the sum of its squares."""
    rows, squares = like.new_zeros(n), like.new_zeros(())
    for left, right in _upper(n, size):
        values = block(left, right)
        rows[left] += values.sum(1)
        if left != right:
            rows[right] += values.sum(0)
        squares += values.square().sum() * (1 if left == right else 2)
    return rows, squares


def block_sums(order: Order, block: Block, size: int) -> Sums:
    """Row and signed sums of a symmetric matrix in the order of the predictions.

    One pass over half of the matrix: between two ranges without a common tie the sign is
    the same for all pairs. O(n^2) time; O(n + size^2) memory.
    """
    n = len(order.values)
    rows, signed = torch.zeros_like(order.values), torch.zeros_like(order.values)
    for left, right in _upper(n, size):
        values = block(left, right)
        across, down = values.sum(1), values.sum(0)
        rows[left] += across
        if left != right:
            rows[right] += down
        low, high = order.values[left], order.values[right]
        if left != right and low[-1] < high[0]:
            signed[left] -= across
            signed[right] += down
            continue
        values = values * torch.sign(low[:, None] - high[None, :])
        signed[left] += values.sum(1)
        if left != right:
            signed[right] -= values.sum(0)
    return Sums(rows, signed)


def _upper(n: int, size: int) -> Iterator[tuple[slice, slice]]:
    for left in spans(n, size):
        for right in spans(n, size):
            if right.start >= left.start:
                yield left, right


@final
@dataclass(frozen=True)
class Pairwise:
    """``norm * sum_kl ||yhat_k - yhat_l||^exponent W_kl`` for predictions of any width.

    Args:
        block: raw values ``w`` of the attributes, to be centred to ``W``.
        rows: ``(n,)`` their row sums, for the estimator at hand.
        exponent: in (0, 2).
        estimator: ``"v"`` or ``"u"``.
        size: rows of a block.
    """

    block: Block
    rows: Tensor
    exponent: float
    estimator: Estimator
    size: int

    def value_and_slope(self, yhat: Tensor) -> tuple[Tensor, Tensor]:
        """The value, and its gradient ``(n, p)``, at predictions ``(n, p)``."""
        value, slope = yhat.new_zeros(()), torch.zeros_like(yhat)
        for left, weights, delta, length in self._blocks(yhat):
            value += (weights * length.pow(self.exponent)).sum()
            scale = weights * _power(length, self.exponent - 2)
            slope[left] += 2 * self.exponent * (scale[..., None] * delta).sum(1)
        return value, slope

    def curve(self, yhat: Tensor, direction: Tensor) -> Tensor:
        """Product ``(n, p)`` of the second derivative with a direction ``(n, p)``."""
        result, power = torch.zeros_like(yhat), self.exponent
        for left, weights, delta, length in self._blocks(yhat, direction):
            delta, turn = delta.chunk(2, -1)
            flat = (weights * _power(length, power - 2))[..., None] * turn
            along = (delta * turn).sum(-1) * weights * _power(length, power - 4)
            part = flat + (power - 2) * along[..., None] * delta
            result[left] += 2 * power * part.sum(1)
        return result

    def _blocks(
        self, yhat: Tensor, direction: Tensor | None = None
    ) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
        """Range of rows, weights, differences (of the direction too), lengths."""
        n = len(yhat)
        share = shares(self.rows, n, self.estimator)
        both = yhat if direction is None else torch.cat([yhat, direction], 1)
        for left in spans(n, self.size):
            for right in spans(n, self.size):
                weights = self.block(left, right) - share[left, None] - share[right]
                delta = both[left, None] - both[None, right]
                length = delta[..., : yhat.shape[1]].square().sum(-1).sqrt()
                yield left, weights * norm(n, self.estimator), delta, length


def _power(length: Tensor, exponent: float) -> Tensor:
    """A power of lengths that is 0 at length 0: the sub-gradient at ties."""
    return torch.where(length > 0, length, torch.inf).pow(exponent)

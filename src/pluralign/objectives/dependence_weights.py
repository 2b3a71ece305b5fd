"""Values between rows of the attributes: distances, or the product of their terms."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from .dependence_attributes import Attributes
from .dependence_blocks import Block, Pairwise, distances, row_sums
from .dependence_line import line_rows
from .dependence_order import Estimator, norm, shares, variance

MOST_CELLS = 4096
"""More distinct rows than this are no cells: the table of their distances has 134 MB."""


@final
@dataclass(frozen=True)
class Weights:
    """The matrix ``w`` that predictions are paired with, never held as a whole.

    Args:
        attributes: of the rows at hand.
        product: ``w_kl = prod_j (U_j,kl + c)`` of joint covariance, instead of distances
            over all columns.
        estimator: ``"u"`` or ``"v"``.
        exponent: power of the distances.
        c: of the product.
        size: rows of a block.
    """

    attributes: Attributes
    product: bool
    estimator: Estimator
    exponent: float
    c: float
    size: int

    @property
    def sign(self) -> int:
        """-1 for products: their terms are means minus distances."""
        return -1 if self.product else 1

    def constant(self, rows: Tensor) -> Tensor:
        """The part of the value that no prediction moves, from the row sums of ``w``."""
        if not self.product:
            return rows.new_zeros(())
        n, scale = len(rows), norm(len(rows), self.estimator)
        power = self.c ** (1 + len(self.attributes.blocks))
        diagonal = n * power if self.estimator == "u" else 0.0
        everywhere = n / (n - 3) if self.estimator == "u" else 1.0
        return scale * (self.c * rows.sum() + diagonal) - everywhere * power

    def table(self) -> Tensor:
        """Values ``(M, M)`` between two rows of two cells."""
        whole, (ids, rows) = self.attributes.whole, self.attributes.cells
        if not self.product:
            points = whole.joint[rows]
            return distances(points, points, self.exponent)
        counts = torch.bincount(ids, minlength=len(rows)).double()
        result = torch.ones_like(counts)
        for columns in whole.blocks:
            table = distances(columns[rows], columns[rows], self.exponent)
            share = shares(table @ counts, len(ids), self.estimator, counts)
            result = result * (share[:, None] + share + self.c - table)
        return result

    def block(self, order: Tensor | None = None) -> Block:
        """Values between ranges of rows, in an order ``(n,)``; 0 on the diagonal for U."""
        if not self.product:
            joint = self.attributes.joint if order is None else self.attributes.joint[order]
            return lambda left, right: distances(joint[left], joint[right], self.exponent)
        n, parts = len(self.attributes), []
        for alone in self.attributes.marginals:
            rows, _ = rows_and_squares(alone, self.exponent, self.size)
            share = shares(rows, n, self.estimator)
            columns = alone.joint
            parts.append((columns, share) if order is None else (columns[order], share[order]))

        def product(left: slice, right: slice) -> Tensor:
            result = torch.ones((), dtype=torch.float64, device=parts[0][0].device)
            for columns, share in parts:
                table = distances(columns[left], columns[right], self.exponent)
                result = result * (share[left, None] + share[right] + self.c - table)
            return result.fill_diagonal_(0) if left == right and self.estimator == "u" else result

        return product

    def pairwise(self) -> Pairwise:
        """The form for predictions of several columns or another exponent."""
        block = self.block()
        rows, _ = row_sums(block, len(self.attributes), self.size, self.attributes.joint)
        return Pairwise(block, rows, self.exponent, self.estimator, self.size)


def rows_and_squares(attributes: Attributes, exponent: float, size: int) -> tuple[Tensor, Tensor]:
    """Row sums ``(n,)`` of the distances over all columns and the sum of their squares."""
    if few_cells(attributes):
        points = attributes.whole.joint[attributes.cells.representatives]
        table, ids = distances(points, points, exponent), attributes.cells.ids
        counts = torch.bincount(ids, minlength=len(points)).double()
        return (table @ counts)[ids], counts @ table.square() @ counts
    if attributes.joint.shape[1] == 1 and exponent == 1:
        return line_rows(attributes.joint[:, 0])
    joint = attributes.joint

    def block(left: slice, right: slice) -> Tensor:
        return distances(joint[left], joint[right], exponent)

    return row_sums(block, len(joint), size, joint)


def few_cells(attributes: Attributes) -> bool:
    """Whether the exact path by distinct rows is the cheapest."""
    limit = min(MOST_CELLS, max(64, len(attributes) // 8))
    return len(attributes.cells.representatives) <= limit


def spread(attributes: Attributes, estimator: Estimator, exponent: float, size: int) -> float:
    """Square root of the squared distance variance over all columns; 0 if they are constant."""
    found = variance(*rows_and_squares(attributes, exponent, size), estimator)
    return math.sqrt(max(found.item(), 0.0))

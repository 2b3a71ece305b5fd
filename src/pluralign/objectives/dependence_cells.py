"""Attributes with few distinct rows: sums over pairs in O(n log n + n M)."""

from __future__ import annotations

import torch
from torch import Tensor

from .dependence_order import Estimator, Order, Sums, prefix

_CHUNK = 1 << 20  # numbers held at a time


def cell_sums(order: Order, cells: Tensor, table: Tensor, estimator: Estimator) -> Sums:
    """Row and signed sums of ``w_kl = table[cell_k, cell_l]``.

    Args:
        order: the predictions.
        cells: ``(n,)`` cell of each row, in the order of the predictions.
        table: ``(M, M)`` values between cells; its diagonal is between two rows of a cell.
        estimator: ``"u"`` leaves a row's value with itself out of its sum.

    Returns:
        Exact sums, O(n log n + n M) time and O(n) memory.
    """
    counts = torch.bincount(cells, minlength=len(table)).double()
    rows = table @ counts
    if estimator == "u":
        rows = rows - table.diagonal()
    signed = torch.empty_like(order.values)
    by_cell = torch.argsort(cells, stable=True)
    ends = prefix(counts.long()).tolist()
    step = max(1, _CHUNK // len(cells))
    for start in range(0, len(table), step):
        before = prefix(table[start : start + step][:, cells])
        stop = min(start + step, len(table))
        at = by_cell[ends[start] : ends[stop]]
        row = cells[at] - start
        signed[at] = before[row, order.first[at]] + before[row, order.last[at]] - before[row, -1]
    return Sums(rows[cells], signed)

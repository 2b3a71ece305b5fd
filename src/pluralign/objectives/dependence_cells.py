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
    members = torch.argsort(cells, stable=True).split(counts.long().tolist())
    step = max(1, _CHUNK // len(cells))
    for start in range(0, len(table), step):
        before = prefix(table[start : start + step][:, cells])
        for sums, member in zip(before, members[start : start + step], strict=True):
            signed[member] = sums[order.first[member]] + sums[order.last[member]] - sums[-1]
    return Sums(rows[cells], signed)

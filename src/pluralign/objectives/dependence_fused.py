"""Sums over all pairs of rows as one kernel for a GPU: no matrix, nothing added atomically.

Each program keeps a tile of rows in registers and passes over all rows; distances, their
sums and the sums with the signs of the predictions are float64. The same input gives the
same bits. Loaded on a GPU only; ``TRITON_INTERPRET=1`` runs it on a CPU, slowly, which is how
it is tested where there is no GPU.
"""
# triton comes with the builds of torch for CUDA, not with those for a CPU, and its language
# has no types of its own.
# pyright: reportMissingImports=false, reportCallIssue=false, reportArgumentType=false
# pyright: reportUnknownMemberType=false, reportUnknownParameterType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUntypedFunctionDecorator=false, reportMissingParameterType=false

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from .dependence_order import Order, Sums

_TILE = 32
MOST_COLUMNS = 64
"""The loop over columns is unrolled; with more the blocks of torch are taken."""


def fused_sums(order: Order, columns: Tensor) -> Sums:
    """Row and signed sums of Euclidean distances, as ``block_sums`` gives them.

    Args:
        order: the predictions.
        columns: ``(n, q)`` float64, in the order of the predictions, ``q <= MOST_COLUMNS``.

    Returns:
        Sums ``(n,)``; O(n^2) time, O(n q) memory.
    """
    n = len(columns)
    rows, signed = torch.empty_like(order.values), torch.empty_like(order.values)
    # A tie is its first position: equal numbers have the sign 0, and integers no rounding.
    rank, wide = order.first.contiguous(), columns.T.contiguous()
    kernel: Any = _sums
    with torch.cuda.device_of(columns):
        kernel[(triton.cdiv(n, _TILE),)](
            wide, rank, rows, signed, n, columns=columns.shape[1], tile=_TILE, num_warps=4
        )
    return Sums(rows, signed)


@triton.jit
def _sums(
    wide: tl.tensor,
    rank: tl.tensor,
    rows: tl.tensor,
    signed: tl.tensor,
    n: tl.tensor,
    columns: tl.constexpr,
    tile: tl.constexpr,
) -> None:
    """Sums of a tile of rows over all rows; ``wide`` is ``(columns, n)``."""
    k = tl.program_id(0).to(tl.int64) * tile + tl.arange(0, tile)
    inside = k < n
    mine = tl.load(rank + k, mask=inside, other=0)
    total = tl.zeros((tile,), dtype=tl.float64)
    turned = tl.zeros((tile,), dtype=tl.float64)
    for start in range(0, n, tile):
        other = start + tl.arange(0, tile)
        there = other < n
        square = tl.zeros((tile, tile), dtype=tl.float64)
        for column in tl.static_range(columns):
            at = wide + column * n  # below 2^31 for all n that O(n^2) can serve
            left = tl.load(at + k, mask=inside, other=0.0)
            right = tl.load(at + other, mask=there, other=0.0)
            apart = left[:, None] - right[None, :]
            square += apart * apart
        length = tl.where(there[None, :], tl.sqrt(square), 0.0)
        total += tl.sum(length, axis=1)
        theirs = tl.load(rank + other, mask=there, other=0)
        above = (mine[:, None] > theirs[None, :]).to(tl.float64)
        below = (mine[:, None] < theirs[None, :]).to(tl.float64)
        turned += tl.sum(length * (above - below), axis=1)
    tl.store(rows + k, total, mask=inside)
    tl.store(signed + k, turned, mask=inside)

"""One continuous attribute: sums over pairs in O(n log n) by halving, any ties."""

from __future__ import annotations

import torch
from torch import Tensor

from .dependence_order import Order, Sums, prefix


def line_sums(order: Order, attribute: Tensor) -> Sums:
    """Row and signed sums of ``|s_k - s_l|`` for one real attribute.

    Args:
        order: the predictions.
        attribute: ``(n,)`` float64, in the order of the predictions.

    Returns:
        Exact sums, O(n log n) time and O(n) memory.

    References:
        The reduction to dominance sums: Huo and Szekely, 2016; Chaudhuri and Hu, 2019.
        Halving by bits, whole arrays at a time, is ours.
    """
    attribute = attribute - attribute.mean()
    # Within a tie the attribute descends, so that no row dominates another of its tie.
    by_tie = _sorted_within(order.first, attribute)
    values = attribute[by_tie]
    gains = _gains(values)
    # sum over lower predictions: |s_k - s_l| = 2 (s_k - s_l)^+ - (s_k - s_l)
    below = prefix(values)[order.first]
    lower = 2 * gains - (values * order.first - below)
    rows = _row_sums(values)
    signed = 2 * lower - rows + _within(order, values)
    return Sums(*(_scattered(by_tie, part) for part in (rows, signed)))


def line_rows(attribute: Tensor) -> tuple[Tensor, Tensor]:
    """Row sums ``(n,)`` of ``|s_k - s_l|`` and the sum of all its squares."""
    values = attribute - attribute.mean()
    return _row_sums(values), 2 * len(values) * values.square().sum()


def _sorted_within(first: Tensor, attribute: Tensor) -> Tensor:
    down = torch.argsort(attribute, descending=True, stable=True)
    return down[torch.argsort(first[down], stable=True)]


def _scattered(index: Tensor, values: Tensor) -> Tensor:
    result = torch.empty_like(values)
    result[index] = values
    return result


def _row_sums(values: Tensor) -> Tensor:
    ascending, index = torch.sort(values)
    n = len(values)
    count = torch.arange(n, device=values.device)
    before = prefix(ascending)
    sums = ascending * (2 * count - n) - 2 * before[:-1] + before[-1]
    return _scattered(index, sums)


def _within(order: Order, values: Tensor) -> Tensor:
    """``sum |s_k - s_l|`` over the rows of one tie, whose values descend."""
    before = prefix(values)
    at = torch.arange(len(values), device=values.device)
    higher = before[:-1] - before[order.first] - values * (at - order.first)
    lower = values * (order.last - at) - (before[order.last] - before[:-1])
    return higher + lower


def _gains(values: Tensor) -> Tensor:
    """``sum over l before k of (s_k - s_l)^+``, shape ``(n,)``.

    Rows start by ascending value and are split by the bits of their position, the highest
    first. In each split a row of the later half gains from the rows of the earlier half
    that stand before it: these are the lower values. Padding stands last in both orders.
    """
    n = len(values)
    bits = max(1, (n - 1).bit_length())
    value, position = torch.sort(values, stable=True)
    padding = torch.arange(n, 1 << bits, device=values.device)
    position = torch.cat([position, padding])
    value = torch.nn.functional.pad(value, (0, len(padding)))
    gain = torch.zeros_like(value)
    for bit in reversed(range(bits)):
        size = 2 << bit
        later = (position >> bit) & 1 == 1
        earlier = ~later
        count = earlier.view(-1, size).cumsum(1).view(-1)
        total = (value * earlier).view(-1, size).cumsum(1).view(-1)
        gain += later * (value * count - total)
        halves = [part.nonzero().view(-1, size // 2) for part in (earlier, later)]
        index = torch.cat(halves, 1).view(-1)
        position, value, gain = position[index], value[index], gain[index]
    return gain[:n]

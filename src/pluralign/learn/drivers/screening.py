"""Variance inflation factors, and which columns to leave out because others say the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError, ParameterError
from ...rules import AnyOf, Within, shown
from .penalties import Floats

THRESHOLD = AnyOf(Within(1.0, closed="neither"), None)


@final
@dataclass(frozen=True)
class Dropped:
    """A column that was left out.

    Attributes:
        name: of the column or factor.
        vif: its inflation when it was dropped; may be infinite.
        partner: the kept column that it is most correlated with, in absolute value.
        correlation: with the partner.
    """

    name: str
    vif: float
    partner: str
    correlation: float


@final
@dataclass(frozen=True)
class Screen:
    """What a screen kept and dropped.

    Attributes:
        kept: positions of the columns that stay.
        dropped: in the order of dropping.
        first: inflation of every block before anything was dropped.
        last: inflation of the blocks that stay, in order.
        names: of the blocks.
        stays: which blocks stay.
    """

    kept: NDArray[Any]
    dropped: tuple[Dropped, ...]
    first: Floats
    last: Floats
    names: tuple[str, ...]
    stays: NDArray[np.bool_]


def correlation(x: Floats, weights: Floats | None = None) -> Floats:
    """Correlations between columns (columns, columns); 0 for constant ones, 1 on the diagonal."""
    share = np.full(len(x), 1 / len(x)) if weights is None else weights / weights.sum()
    centred = x - share @ x
    spread = np.sqrt(share @ centred**2)
    flat = spread <= 1e-12 * np.maximum(np.abs(share @ x), 1e-300)
    unit = centred / np.where(flat, 1.0, spread) * ~flat
    found = (unit * share[:, None]).T @ unit
    np.fill_diagonal(found, 1.0)
    return found


def inflation(correlations: Floats, blocks: Sequence[Sequence[int]] | None = None) -> Floats:
    """Variance inflation of columns, or of blocks of columns, from their correlations.

    Of a column ``1 / (1 - R^2)``, R^2 from all others; of a block the generalised factor
    of Fox and Monette (1992) to the power 1 / df, which is the same for one column.

    Args:
        correlations: (columns, columns).
        blocks: positions that belong together; each column by itself by default.

    Returns:
        One value a block, >= 1, infinite where others determine a column exactly.

    Example:
        >>> inflation(np.array([[1.0, 0.6], [0.6, 1.0]])).round(4).tolist()
        [1.5625, 1.5625]
    """
    values, vectors = np.linalg.eigh(correlations)
    null = values <= len(values) * np.finfo(float).eps * max(float(values[-1]), 1.0) * 8
    inverse = vectors[:, ~null] / values[~null] @ vectors[:, ~null].T
    determined = (vectors[:, null] ** 2).sum(1) > 1e-8
    found = np.where(determined, np.inf, np.diag(inverse))
    if blocks is None:
        return np.maximum(found, 1.0)
    result = np.empty(len(blocks))
    for i, block in enumerate(blocks):
        at = np.ix_(block, block)
        product = np.linalg.det(correlations[at]) * np.linalg.det(inverse[at])
        whole = determined[list(block)].any()
        result[i] = np.inf if whole else max(product, 1.0) ** (1 / len(block))
    return result


def screen(
    x: Floats,
    names: Sequence[str],
    threshold: float | None,
    *,
    blocks: Sequence[Sequence[int]] | None = None,
    weights: Floats | None = None,
) -> Screen:
    """Drop the block with the largest inflation until none exceeds the threshold.

    The earliest of equals goes first. What is dropped may be what truly drives the outcome:
    each dropped column is listed with its partner.

    Args:
        x: rows of the training part only, (n, columns).
        names: of the blocks.
        threshold: > 1; ``None`` drops nothing.
        blocks: positions that stay or go together; each column by itself by default.
        weights: of rows, (n,).

    Example:
        >>> x = np.random.default_rng(0).normal(size=(50, 3))
        >>> x[:, 2] = x[:, 0] + x[:, 1]
        >>> [one.name for one in screen(x, ["a", "b", "c"], 10.0).dropped]
        ['a']
    """
    if not THRESHOLD.admits(threshold):
        raise ParameterError(f"vif_threshold must be {THRESHOLD.wants()}; got {shown(threshold)}.")
    groups = [[j] for j in range(x.shape[1])] if blocks is None else [list(b) for b in blocks]
    if len(names) != len(groups):
        raise DataError(f"{len(names)} names for {len(groups)} columns.")
    every = correlation(x, weights)
    stays, order = np.ones(len(groups), bool), list[tuple[int, float]]()
    first = values = inflation(every, groups)
    while threshold is not None and values.size and values.max() > threshold:
        worst = int(np.flatnonzero(stays)[first_largest(values)])
        order.append((worst, float(values.max())))
        stays[worst] = False
        kept = [j for i in np.flatnonzero(stays) for j in groups[i]]
        place = {j: position for position, j in enumerate(kept)}
        left = [[place[j] for j in groups[i]] for i in np.flatnonzero(stays)]
        values = inflation(every[np.ix_(kept, kept)], left) if kept else np.empty(0)
    kept = np.array([j for i in np.flatnonzero(stays) for j in groups[i]], int)
    owner = {j: names[i] for i, group in enumerate(groups) for j in group}
    dropped = tuple(
        Dropped(names[i], vif, *_partner(every, groups[i], kept, owner)) for i, vif in order
    )
    return Screen(kept, dropped, first, values, tuple(names), stays)


def first_largest(values: Floats) -> int:
    """Position of the largest value, the earliest of those equal to rounding."""
    top = float(values.max())
    return int(np.flatnonzero((values == top) | (values >= top * (1 - 1e-9)))[0])


def _partner(
    every: Floats, block: Sequence[int], kept: NDArray[Any], owner: dict[int, str]
) -> tuple[str, float]:
    if not kept.size:
        return "", 0.0
    between = every[np.ix_(list(block), kept.tolist())]
    row, column = np.unravel_index(np.abs(between).argmax(), between.shape)
    return owner[int(kept[column])], float(between[row, column])

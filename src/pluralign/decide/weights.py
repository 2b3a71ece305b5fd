"""How much each criterion counts for a group: from rankings, from ratings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import DataError, ParameterError
from ..rules import shown
from .fields import Floats


def weights_from_rankings(rankings: ArrayLike, groups: Sequence[str] | None = None) -> Floats:
    r"""Criterion weights from rankings, by rank-order centroids.

    Use it where people can say which criterion matters more but not by how much. Where they
    give intensities, :func:`weights_from_ratings` keeps them.

    The criterion of rank r among C gets :math:`w_r = \frac{1}{C} \sum_{k=r}^{C} 1/k`, the mean
    of all weights that agree with the ranking. Tied criteria share the mean of their places.

    Args:
        rankings: ``(G, C)``, 1 for the criterion that matters most; only the order counts.
        groups: G names for messages.

    Returns:
        ``(G, C)`` weights, each row summing to 1.

    Raises:
        DataError: naming the group and the value, for a rank that is not in 1..C.

    Example:
        >>> weights_from_rankings([[1, 2, 3], [2, 1, 2]]).round(4).tolist()
        [[0.6111, 0.2778, 0.1111], [0.1944, 0.6111, 0.1944]]

    Differs from the paper: ours; how the paper weighs its criteria was not to be had.
    """
    ranks = table(rankings, "rankings", groups)
    criteria = ranks.shape[1]
    refuse_rows(ranks, (ranks >= 1) & (ranks <= criteria), f"in 1..{criteria}", "rankings", groups)
    places = np.cumsum(1 / np.arange(criteria, 0, -1))[::-1] / criteria
    found = np.empty_like(ranks)
    for row, given in enumerate(ranks):
        below = (given[:, None] > given).sum(axis=1)
        upto = (given[:, None] >= given).sum(axis=1)
        found[row] = [places[a:b].mean() for a, b in zip(below, upto, strict=True)]
    return found


def weights_from_ratings(
    ratings: ArrayLike, scale: tuple[float, float], groups: Sequence[str] | None = None
) -> Floats:
    r"""Criterion weights from ratings of importance on a declared scale.

    Use it where people rated how important each criterion is to them. A row that rates all
    criteria at the low end says nothing and weighs them equally.

    :math:`w_c = (r_c - low) / \sum_k (r_k - low)`: it does not matter whether a scale is
    numbered 1 to 4 or 0 to 3.

    Args:
        ratings: ``(G, C)``, on the scale.
        scale: its lowest and highest value.
        groups: G names for messages.

    Returns:
        ``(G, C)`` weights, each row summing to 1.

    Raises:
        DataError: naming the group and the value, for a rating outside the scale.

    Example:
        >>> weights_from_ratings([[4, 2, 1], [1, 1, 1]], scale=(1, 4)).round(2).tolist()
        [[0.75, 0.25, 0.0], [0.33, 0.33, 0.33]]

    Differs from the paper: ours; how the paper weighs its criteria was not to be had.
    """
    low, high = scale
    if not (np.isfinite([low, high]).all() and low < high):
        raise ParameterError(f"scale must be (low, high) with low < high; got {shown(scale)}.")
    given = table(ratings, "ratings", groups)
    inside = (given >= low) & (given <= high)
    refuse_rows(given, inside, f"on the declared scale [{low:g}, {high:g}]", "ratings", groups)
    above = given - low
    total = above.sum(axis=1, keepdims=True)
    return np.where(total > 0, above / np.where(total > 0, total, 1.0), 1 / given.shape[1])


def table(values: ArrayLike, name: str, groups: Sequence[str] | None) -> Floats:
    """``(G, C)`` finite numbers, at least one each way; DataError that names what is not so."""
    try:
        found = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(
            f"{name} must be numbers with as many in each row; got {shown(values)}."
        ) from None
    if found.ndim != 2 or not found.size:
        raise DataError(f"{name} must have a row for each group; got shape {found.shape}.")
    if groups is not None and len(groups) != len(found):
        raise DataError(f"{name} has {len(found)} rows for {len(groups)} groups.")
    refuse_rows(found, np.isfinite(found), "finite", name, groups)
    return found


def refuse_rows(
    values: Floats,
    good: NDArray[np.bool_],
    wanted: str,
    name: str,
    groups: Sequence[str] | None,
) -> None:
    """Raise for the first value that is not ``good``, naming its group and column."""
    bad = np.argwhere(~good)
    if len(bad):
        row, column = bad[0]
        who = groups[row] if groups is not None else f"group {row}"
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        raise DataError(
            f"{name} must be {wanted}; got {values[row, column]:g} for {who!r} in column "
            f"{column}{more}.",
            rows=[int(i) for i in sorted(set(bad[:, 0]))],
        )

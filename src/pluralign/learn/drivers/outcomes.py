"""Graded outcomes from numbers: classes of market share by edges, or by quantiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import DataError, ParameterError
from ...rules import shown


def share_classes(share: ArrayLike, edges: Sequence[float] = (0.003, 0.015)) -> NDArray[np.int64]:
    """Class of each share: below the first edge, between edges, above the last.

    With two edges both belong to the middle class, as the paper words it (0: < 0.3 %, 1:
    0.3 to 1.5 %, 2: > 1.5 %); with others an edge belongs to the class above it, the last
    edge to the class below.

    Args:
        share: in [0, 1], (n,).
        edges: increasing, in (0, 1).

    Returns:
        Classes from 0, (n,).

    Raises:
        ParameterError: for edges that do not increase within (0, 1).
        DataError: for shares outside [0, 1], naming the rows, or all in one class.

    Example:
        >>> share_classes([0.001, 0.003, 0.015, 0.2]).tolist()
        [0, 1, 1, 2]
    """
    limits = np.asarray(edges, np.float64)
    inside = limits.ndim == 1 and limits.size and (limits > 0).all() and (limits < 1).all()
    if not inside or (np.diff(limits) <= 0).any():
        raise ParameterError(f"edges must increase within (0, 1); got {shown(edges)}.")
    values = _numbers(share, "share")
    bad = np.flatnonzero(~((values >= 0) & (values <= 1)))
    if bad.size:
        raise DataError(
            f"row {bad[0]}: share must be in [0, 1]; got {values[bad[0]]:g} ({bad.size} in all).",
            rows=bad.tolist(),
        )
    classes = np.searchsorted(limits[:-1], values, side="right") + (values > limits[-1])
    return _varied(classes, "edges")


def quantile_classes(values: ArrayLike, quantiles: Sequence[float] = (1 / 3, 2 / 3)) -> Any:
    """Class of each value by quantiles of the values themselves, (n,).

    The classes are then of about equal size whatever the outcome is, and a majority guess is
    right about once in as many classes.

    Example:
        >>> quantile_classes([5.0, 1.0, 3.0, 4.0, 2.0, 6.0]).tolist()
        [2, 0, 1, 1, 0, 2]
    """
    limits = np.asarray(quantiles, np.float64)
    if not limits.size or ((limits <= 0) | (limits >= 1)).any() or (np.diff(limits) <= 0).any():
        raise ParameterError(f"quantiles must increase within (0, 1); got {shown(quantiles)}.")
    given = _numbers(values, "values")
    bad = np.flatnonzero(~np.isfinite(given))
    if bad.size:
        raise DataError(f"row {bad[0]}: the value must be finite.", rows=bad.tolist())
    return _varied(np.searchsorted(np.quantile(given, limits), given, side="left"), "quantiles")


def _numbers(values: ArrayLike, name: str) -> NDArray[np.float64]:
    try:
        found = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise DataError(f"{name} must hold numbers; got {shown(values)}.") from None
    if found.ndim != 1 or not found.size:
        raise DataError(f"{name} must be a list of numbers, at least one; got {shown(values)}.")
    return found


def _varied(classes: NDArray[Any], what: str) -> NDArray[np.int64]:
    if len(np.unique(classes)) < 2:
        raise DataError(f"all rows fall in class {classes[0]}; choose other {what}.")
    return classes.astype(np.int64)

"""The fields of a package problem, checked one by one; every message names group or item."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import DataError, ParameterError
from ..rules import nearest, shown

Floats = NDArray[np.float64]
Pair = tuple[int, int]


def shape(values: ArrayLike) -> tuple[int, ...]:
    """Shape of a table that may be ragged."""
    try:
        return np.shape(values)
    except ValueError:
        return (len(cast("Any", values)),)


def names(given: Sequence[str] | None, count: int, kind: str) -> tuple[str, ...]:
    """Names as given, or ``group 0``, ``group 1``, ...; all different."""
    if given is None:
        return tuple(f"{kind} {i}" for i in range(count))
    found = tuple(given)
    if any(not isinstance(name, str) for name in found) or isinstance(given, str):
        raise DataError(f"{kind}s must be names; got {shown(given)}.")
    double = sorted(name for name, times in Counter(found).items() if times > 1)
    if double:
        raise DataError(f"{kind}s must have different names; {double[0]!r} is there twice.")
    return found


def values(given: ArrayLike, groups: Sequence[str], items: Sequence[str]) -> Floats:
    """``(G, m)`` finite numbers."""
    try:
        found = np.array(given, dtype=np.float64)
    except (TypeError, ValueError):
        lengths = [len(row) if hasattr(row, "__len__") else 0 for row in cast("Any", given)]
        what = f"rows of lengths {lengths}" if len(set(lengths)) > 1 else shown(given)
        raise DataError(
            f"values must be numbers, one for each item in each row; got {what}."
        ) from None
    if found.ndim != 2 or not found.size:
        raise DataError(f"values must have shape (groups, items); got {found.shape}.")
    if found.shape != (len(groups), len(items)):
        raise DataError(
            f"values has shape {found.shape} for {len(groups)} groups and {len(items)} items."
        )
    if len(groups) < 2:
        raise DataError(f"at least 2 groups are needed to settle between; got {len(groups)}.")
    bad = np.argwhere(~np.isfinite(found))
    if len(bad):
        g, j = bad[0]
        raise DataError(
            f"values must be finite; got {found[g, j]:g} for group {groups[g]!r} and item "
            f"{items[j]!r}.",
            rows=[int(i) for i in sorted(set(bad[:, 0]))],
        )
    return found


def costs(given: ArrayLike, items: Sequence[str]) -> Floats:
    """``(m,)`` numbers > 0."""
    found = each(given, items, "cost", "item")
    bad = np.flatnonzero(found <= 0)
    if len(bad):
        raise DataError(
            f"cost must be > 0; got {found[bad[0]]:g} for item {items[bad[0]]!r}: what is free "
            "belongs into base."
        )
    return found


def each(given: ArrayLike, names: Sequence[str], field: str, kind: str = "group") -> Floats:
    """One finite number for each name; a single number serves all."""
    try:
        found = np.array(given, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(f"{field} must hold numbers; got {shown(given)}.") from None
    if found.ndim == 0:
        found = np.full(len(names), float(found))
    if found.shape != (len(names),):
        raise DataError(
            f"{field} must have one value for each of {len(names)} {kind}s; got shape "
            f"{found.shape}."
        )
    bad = np.flatnonzero(~np.isfinite(found))
    if len(bad):
        raise DataError(
            f"{field} must be finite; got {found[bad[0]]:g} for {kind} {names[bad[0]]!r}."
        )
    return found


def weights(given: ArrayLike | None, groups: Sequence[str]) -> Floats:
    """``(G,)``, not negative, summing to 1."""
    found = each(1.0 if given is None else given, groups, "weights")
    bad = np.flatnonzero(found < 0)
    if len(bad):
        raise ParameterError(
            f"weights must be >= 0; got {found[bad[0]]:g} for group {groups[bad[0]]!r}."
        )
    if not found.any():
        raise ParameterError("weights must not all be 0; no group would count.")
    return found / found.sum()


def pairs(
    given: Sequence[Sequence[str | int]], items: Sequence[str], field: str
) -> tuple[Pair, ...]:
    """Pairs of items by number."""
    found: list[Pair] = []
    if isinstance(given, (str, int, float)):
        raise DataError(f"{field} must be pairs of items; got {shown(given)}.")
    for pair in given:
        if not isinstance(pair, (list, tuple, np.ndarray)) or len(pair) != 2:
            raise DataError(f"{field} must be pairs of items; got {shown(pair)}.")
        one, other = (_item(end, items, field) for end in pair)
        if one == other:
            raise DataError(f"{field}: item {items[one]!r} is paired with itself.")
        found.append((one, other))
    return tuple(found)


def _item(end: str | int, items: Sequence[str], field: str) -> int:
    if isinstance(end, str):
        if end not in items:
            raise DataError(f"{field}: there is no item {end!r}; {nearest(end, items)}")
        return items.index(end)
    end = plain(end)
    if isinstance(end, bool) or not isinstance(end, int) or not 0 <= end < len(items):
        raise DataError(
            f"{field}: there is no item {end!r}; items are numbered 0 to {len(items) - 1}."
        )
    return int(end)


def members(given: ArrayLike, groups: Sequence[str]) -> NDArray[np.bool_]:
    """``(P, G)``, every person in at least one group."""
    found = np.array(given)
    if found.ndim != 2 or found.shape[1] != len(groups):
        raise DataError(
            f"members must have a row for each person and {len(groups)} columns; got shape "
            f"{found.shape}."
        )
    if not np.isin(found, (0, 1)).all():
        raise DataError("members must hold only true and false (or 1 and 0).")
    held = found.astype(np.bool_)
    lonely = np.flatnonzero(~held.any(axis=1))
    if len(lonely):
        raise DataError(
            f"person {lonely[0]} belongs to no group; leave the row out or name a group.",
            rows=[int(row) for row in lonely],
        )
    return held


def frozen(array: NDArray[Any]) -> NDArray[Any]:
    """The array, no longer writable."""
    array.setflags(write=False)
    return array


def of(names: Sequence[str] | None, row: int) -> str:
    """A row by its name."""
    return repr(names[row]) if names is not None else f"group {row}"


def plain(value: Any) -> Any:
    """A NumPy number as a Python one."""
    return value.item() if isinstance(value, np.generic) else value

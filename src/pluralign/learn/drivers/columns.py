"""Columns by name from whatever table a user has; numbers as floats, all else as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from ...rules import shown

Columns = dict[str, NDArray[Any]]


def columns_of(table: Any) -> Columns:
    """Columns of a data frame, a mapping or an array (n, columns).

    A column whose known values are all numbers is float64 with NaN where missing; any other,
    and a categorical one, holds text with ``None`` where missing. Columns of an array are
    called x0, x1 and so on.

    Raises:
        DataError: for columns of unequal length, or an infinite number, naming the column.

    Example:
        >>> found = columns_of({"price": [1, None], "brand": ["a", "b"]})
        >>> found["price"].tolist(), found["brand"].tolist()
        ([1.0, nan], ['a', 'b'])
    """
    if hasattr(table, "columns"):
        found = {str(name): _plain(table[name]) for name in table.columns}
    elif isinstance(table, Mapping):
        found = {str(name): _plain(column) for name, column in table.items()}
    else:
        array = np.asarray(table)
        if array.ndim != 2:
            raise DataError(f"a table of rows and columns is needed; got the shape {array.shape}.")
        found = {f"x{j}": _plain(column) for j, column in enumerate(array.T)}
    lengths = {name: len(column) for name, column in found.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(f"columns must be of equal length; got {shown(lengths)}.")
    for name, column in found.items():
        if is_number(column) and np.isinf(column).any():
            rows = np.flatnonzero(np.isinf(column)).tolist()
            raise DataError(
                f"column {name!r}, row {rows[0]}: inf is no value ({len(rows)} in all); "
                "replace or remove it.",
                rows=rows,
            )
    return found


def is_number(column: NDArray[Any]) -> bool:
    """Whether a column of :func:`columns_of` holds numbers."""
    return column.dtype.kind == "f"


def missing(column: NDArray[Any]) -> NDArray[np.bool_]:
    """Which values of a column of :func:`columns_of` are missing, (n,)."""
    if is_number(column):
        return np.isnan(column)
    return np.array([value is None for value in column.tolist()], bool)


def rows_of(columns: Columns, rows: NDArray[Any]) -> Columns:
    """The chosen rows of every column."""
    return {name: column[rows] for name, column in columns.items()}


def _plain(column: Any) -> NDArray[Any]:
    categorical = str(getattr(column, "dtype", "")) == "category"
    array = np.asarray(column)
    if array.dtype.kind in "biuf" and not categorical:
        return array.astype(np.float64)
    values = [None if _is_missing(value) else value for value in np.asarray(array, object).tolist()]
    known = [value for value in values if value is not None]
    if not categorical and all(isinstance(value, (bool, int, float)) for value in known):
        return np.array([np.nan if value is None else float(value) for value in values])
    found = np.empty(len(values), object)
    found[:] = [None if value is None else str(value) for value in values]
    return found


def _is_missing(value: Any) -> bool:
    # pandas' own mark of a missing value has no truth value.
    return value is None or type(value).__name__ in ("NAType", "NaTType") or bool(value != value)

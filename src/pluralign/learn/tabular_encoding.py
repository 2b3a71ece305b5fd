"""Sensitive columns of mixed type as blocks of numbers, the same way at every call."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, final

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, DataQualityWarning
from ..rules import OneOf, check, shown

Scale = Literal["onehot", "unit", "none"]


@dataclass(frozen=True)
class _Column:
    """What is known of one column: its categories, or the range of its numbers."""

    name: str
    categories: tuple[str, ...] | None
    low: float = 0.0
    span: float = 1.0
    divisor: float = 1.0


@final
@dataclass(kw_only=True)
class AttributeEncoder:
    """Encodes protected attributes: categories one-hot, two of them as 0/1, numbers scaled.

    Use it before ``DistanceCovariance`` on columns of mixed type. Categories are never given
    ordinal codes: distances would depend on the order of the alphabet.

    Args:
        scale: ``"onehot"`` as the authors' lab: numbers to [0, 1], so a one-hot mismatch counts
            sqrt(2), a 0/1 mismatch 1, a number at most 1; ``"unit"`` divides each block by
            its mean distance between two rows, so that all count alike; ``"none"`` leaves
            numbers as they are.

    Example:
        >>> encoder = AttributeEncoder().fit({"sex": ["f", "m", "f"], "age": [20.0, 40.0, 30.0]})
        >>> [block.tolist() for block in encoder.transform({"sex": ["m"], "age": [25.0]})]
        [[[1.0]], [[0.25]]]
    """

    scale: Annotated[Scale, OneOf("onehot", "unit", "none")] = "onehot"
    columns_: list[_Column] = field(default_factory=list[_Column], init=False, repr=False)

    def __post_init__(self) -> None:
        check(self)

    def fit(self, sensitive: Any) -> AttributeEncoder:
        """Learn categories and ranges.

        Args:
            sensitive: a data frame, a mapping of columns, or an array ``(n,)`` or ``(n, d)``.

        Raises:
            DataError: for missing values, naming the column.
        """
        self.columns_ = [self._learned(name, c) for name, c in columns_of(sensitive).items()]
        for column in self.columns_:
            if column.categories is not None and len(column.categories) == 1:
                warnings.warn(
                    f"sensitive column {column.name!r} is constant; it contributes nothing.",
                    DataQualityWarning,
                    stacklevel=2,
                )
        return self

    def transform(self, sensitive: Any) -> list[NDArray[np.float64]]:
        """One block ``(n, q_j)`` for each column.

        Raises:
            DataError: for a column that is missing or a category that was not seen.
        """
        given = columns_of(sensitive)
        missing = [column.name for column in self.columns_ if column.name not in given]
        if missing:
            raise DataError(f"sensitive columns {missing} are missing; there are {list(given)}.")
        return [self._encoded(column, given[column.name]) for column in self.columns_]

    def categories(self, sensitive: Any) -> dict[str, list[str]]:
        """The columns that are categories, as texts: those whose crossing makes cells."""
        given = columns_of(sensitive)
        return {
            column.name: [str(value) for value in given[column.name]]
            for column in self.columns_
            if column.categories is not None
        }

    def _learned(self, name: str, values: NDArray[Any]) -> _Column:
        if not is_number(values):
            column = _Column(name, tuple(sorted({str(value) for value in values})))
        elif self.scale == "onehot":
            low, high = float(values.min()), float(values.max())
            column = _Column(name, None, low, (high - low) or 1.0)
        else:
            column = _Column(name, None)
        if self.scale != "unit":
            return column
        import torch

        from ..objectives.dependence_attributes import Attributes
        from ..objectives.dependence_weights import rows_and_squares

        block = torch.tensor(self._encoded(column, values))
        rows, _ = rows_and_squares(Attributes((block,)), 1.0, 512)
        mean = float(rows.sum()) / len(block) ** 2
        return _Column(name, column.categories, column.low, column.span, mean or 1.0)

    def _encoded(self, column: _Column, values: NDArray[Any]) -> NDArray[np.float64]:
        if column.categories is None:
            numbers = (values.astype(np.float64) - column.low) / column.span
            return (numbers / column.divisor)[:, None]
        codes = {category: code for code, category in enumerate(column.categories)}
        rows = [codes.get(str(value), -1) for value in values]
        if min(rows) < 0:
            row = rows.index(-1)
            raise DataError(
                f"sensitive column {column.name!r}, row {row}: category {shown(str(values[row]))} "
                f"was not seen when fitting; known are {shown(list(column.categories))}.",
                rows=[row],
            )
        index = np.array(rows)
        if len(codes) <= 2:
            return index[:, None].astype(np.float64) / column.divisor
        return np.eye(len(codes))[index] / column.divisor


def is_number(values: NDArray[Any]) -> bool:
    """Whether a column holds numbers rather than categories."""
    return values.dtype.kind in "iuf"


def columns_of(sensitive: Any) -> dict[str, NDArray[Any]]:
    """Columns by name from a data frame, a mapping, a series or an array.

    Raises:
        DataError: for missing values, or columns of unequal length.
    """
    if hasattr(sensitive, "columns"):
        found = {str(name): np.asarray(sensitive[name]) for name in sensitive.columns}
    elif isinstance(sensitive, Mapping):
        found = {str(name): np.asarray(column) for name, column in sensitive.items()}
    else:
        array = np.asarray(sensitive)
        array = array[:, None] if array.ndim == 1 else array
        found = {str(number): np.array(column.tolist()) for number, column in enumerate(array.T)}
    lengths = {name: len(column) for name, column in found.items()}
    if not found or len(set(lengths.values())) != 1:
        raise DataError(f"sensitive columns of equal length are needed; got {lengths}.")
    for name, column in found.items():
        bad = [row for row, value in enumerate(column.tolist()) if value is None or value != value]
        if bad:
            raise DataError(
                f"sensitive column {name!r}, row {bad[0]}: a value is missing ({len(bad)} in all).",
                rows=bad,
            )
    return found

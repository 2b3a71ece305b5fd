"""What a user hands to an estimator: a table, labels, weights and units, checked and named."""

# ruff: noqa: N803 - scikit-learn calls the features X

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import issparse
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d, validate_data

from ...errors import DataError
from ...rules import shown
from .columns import Columns, columns_of
from .penalties import Floats


def table_of(estimator: Any, X: Any, *, reset: bool) -> Columns:
    """Columns of a data frame, mapping or array; the estimator learns or checks their names."""
    table: Any = X
    if isinstance(X, Mapping) and not issparse(X):
        import pandas as pd

        table = pd.DataFrame(dict(cast("Mapping[str, Any]", X)))
    if hasattr(table, "columns"):
        validate_data(estimator, table, reset=reset, skip_check_array=True)
        found = columns_of(table)
        if not found or not len(table):
            raise DataError(f"X has the shape {table.shape}; rows and columns are needed.")
        return found
    _refuse_text(table)
    checked: Any = validate_data(
        estimator, table, reset=reset, dtype=np.float64, ensure_all_finite=False
    )
    return columns_of(checked)


def labels_of(y: Any, rows: int) -> NDArray[Any]:
    """Labels of classes, (rows,)."""
    if y is None:
        raise DataError("ChoiceDrivers requires y to be passed, but the target y is None.")
    labels = np.asarray(column_or_1d(y, warn=True))
    check_classification_targets(labels)
    if len(labels) != rows:
        raise DataError(f"y has {len(labels)} labels; X has {rows} rows.")
    return labels


def weights_of(given: ArrayLike | None, rows: int) -> Floats:
    """Weights of rows, (rows,), finite and >= 0; all 1 by default."""
    if given is None:
        return np.ones(rows)
    weights = np.asarray(given, np.float64)
    weights = np.full(rows, float(weights)) if weights.ndim == 0 else weights
    if weights.shape != (rows,):
        raise DataError(f"sample_weight must have the shape ({rows},); got {weights.shape}.")
    bad = np.flatnonzero(~((weights >= 0) & np.isfinite(weights))).tolist()
    if bad:
        raise DataError(
            f"sample_weight, row {bad[0]}: must be finite and >= 0; got {weights[bad[0]]:g}.",
            rows=bad,
        )
    return weights


def units_of(given: ArrayLike, rows: int) -> NDArray[Any]:
    """What each row belongs to, (rows,), numbers or text."""
    units = np.asarray(given)
    if units.shape != (rows,):
        raise DataError(f"units must have the shape ({rows},); got {units.shape}.")
    return units if units.dtype.kind in "iu" else units.astype(str)


def _refuse_text(table: Any) -> None:
    """Name the column of an array that holds text; arrays carry no word on what is a category."""
    array: Any = table if isinstance(table, np.ndarray) else np.empty(0)
    if array.ndim != 2 or array.dtype.kind not in "OUS":
        return
    for j, column in enumerate(array.T.tolist()):
        for row, value in enumerate(column):
            if isinstance(value, str) and not _reads_as_number(value):
                raise DataError(
                    f"column {j}, row {row}: {shown(value)} is no number; give a data frame, whose "
                    "text columns are encoded, or encode it.",
                    rows=[row],
                )


def _reads_as_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True

"""Metrics by intersection cell, in the form that users of fairlearn know."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, final

import numpy as np
from numpy.typing import ArrayLike

from ..errors import DataError, ParameterError
from ..rules import OneOf, shown

Against = Literal["between_groups", "to_overall"]

_AGAINST = OneOf("between_groups", "to_overall")


@final
class CellFrame:
    """Metrics by intersection cell, read like fairlearn's ``MetricFrame``.

    Use it where code expects that interface; ``GroupFrame`` adds intervals for pairs. As there,
    a cell that no row is in has the value NaN; its count is 0.

    Args:
        metrics: a function ``(y_true, y_pred, **sample_params) -> float``, or several by name.
        y_true: ``n`` outcomes.
        y_pred: ``n`` predictions.
        sensitive_features: columns by name (a mapping or a data frame), a series, or an array
            ``(n,)`` or ``(n, d)``; crossed.
        sample_params: ``n`` values by argument of the metrics, such as ``sample_weight``;
            for several metrics by name of the metric first.

    Raises:
        DataError: for columns of unequal length, no row, or a sensitive value that is missing.
        ParameterError: for ``sample_params`` of a metric that there is not.

    Example:
        >>> frame = CellFrame(
        ...     metrics=lambda y, p: float(np.mean(p)), y_true=[0, 1], y_pred=[0.2, 0.6],
        ...     sensitive_features={"sex": ["f", "m"]},
        ... )
        >>> frame.by_group["m"].item(), round(float(frame.difference()), 3)
        (0.6, 0.4)

    Attributes:
        overall: value of all rows, or a Series by metric name.
        by_group: Series (one metric) or DataFrame (several), indexed by the cell.
        counts: Series of rows by cell.
        sensitive_levels: names of the columns that are crossed.
    """

    def __init__(
        self,
        *,
        metrics: Callable[..., float] | Mapping[str, Callable[..., float]],
        y_true: ArrayLike,
        y_pred: ArrayLike,
        sensitive_features: Any,
        sample_params: Mapping[str, Any] | None = None,
    ) -> None:
        import pandas as pd

        single = callable(metrics)
        named = {"metric": metrics} if callable(metrics) else dict(metrics)
        given: Any = {"metric": sample_params or {}} if single else sample_params or {}
        unknown = sorted(set(given) - set(named))
        if unknown:
            raise ParameterError(f"sample_params name no metric: {shown(unknown)}.")
        truth, predicted, keys = (
            np.asarray(y_true),
            np.asarray(y_pred),
            _columns(sensitive_features),
        )
        params = {m: {a: np.asarray(v) for a, v in more.items()} for m, more in given.items()}
        lengths = {len(truth), len(predicted), len(keys)}
        lengths |= {len(value) for more in params.values() for value in more.values()}
        if lengths != {len(truth)} or not len(truth):
            raise DataError(
                f"y_true, y_pred, sensitive_features and sample_params have {sorted(lengths)} "
                "rows; they must be equal, and at least one."
            )

        def measured(rows: Any) -> dict[str, float]:
            return {
                name: metric(
                    truth[rows],
                    predicted[rows],
                    **{a: value[rows] for a, value in params.get(name, {}).items()},
                )
                for name, metric in named.items()
            }

        cells: Any = keys.groupby(list(keys.columns) if keys.shape[1] > 1 else keys.columns[0])
        counts: Any = cells.size()
        order = list(cells.indices)
        found = pd.DataFrame([measured(cells.indices[cell]) for cell in order])
        at: Any = pd.Index(order, name=counts.index.name)
        if keys.shape[1] > 1:
            at = pd.MultiIndex.from_tuples(order, names=counts.index.names)
            levels = [sorted(set(keys[name])) for name in keys.columns]
            counts = counts.reindex(
                pd.MultiIndex.from_product(levels, names=counts.index.names), fill_value=0
            )
        table: Any = found.set_index(at).reindex(counts.index)
        overall = pd.Series(measured(slice(None)))
        self.overall: Any = overall.iloc[0] if single else overall
        self.by_group: Any = table["metric"] if single else table
        self.counts: Any = counts
        self.sensitive_levels: list[str] = list(keys.columns)

    def group_min(self) -> Any:
        """The least value over cells, of each metric."""
        return self.by_group.min()

    def group_max(self) -> Any:
        """The greatest value over cells, of each metric."""
        return self.by_group.max()

    def difference(self, method: Against = "between_groups") -> Any:
        """Greatest less least value over cells, or greatest distance to the overall value."""
        _admit(method)
        if method == "between_groups":
            return self.group_max() - self.group_min()
        return (self.by_group - self.overall).abs().max()

    def ratio(self, method: Against = "between_groups") -> Any:
        """Least over greatest value of the cells, or least ratio to the overall value, below 1."""
        _admit(method)
        if method == "between_groups":
            return self.group_min() / self.group_max()
        share: Any = self.by_group / self.overall
        return share.where(share <= 1, 1 / share).min()


def _admit(method: str) -> None:
    if not _AGAINST.admits(method):
        raise ParameterError(f"method must be {_AGAINST.wants()}; got {shown(method)}.")


def _columns(sensitive: Any) -> Any:
    """Sensitive columns as a data frame, named as fairlearn names them where they have no name."""
    import pandas as pd

    if isinstance(sensitive, (pd.DataFrame, Mapping)):
        found = pd.DataFrame({str(name): list(sensitive[name]) for name in sensitive})
    else:
        array: Any = np.asarray(sensitive)
        array = array[:, None] if array.ndim == 1 else array
        if array.ndim != 2:
            raise DataError(f"sensitive_features must be (n,) or (n, d); got {array.shape}.")
        name: Any = getattr(sensitive, "name", None)
        names = [f"sensitive_feature_{i}" for i in range(array.shape[1])]
        found = pd.DataFrame(array, columns=names if name is None else [str(name)])
    if not found.shape[1]:
        raise DataError("no sensitive feature is given; pass at least one column.")
    missing: Any = found.isna().any()
    if missing.any():
        raise DataError(f"sensitive feature {missing.idxmax()!r} has missing values.")
    return found

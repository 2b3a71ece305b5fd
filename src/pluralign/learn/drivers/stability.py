"""How often half of the data select what the whole selected."""

# ruff: noqa: N803 - scikit-learn calls the features X

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import DataError
from .estimator import ChoiceDrivers
from .penalties import Floats

_TRIES = 100
_TOL = 1e-4  # of lambda: what is selected does not turn on more


def selection_frequencies(
    model: ChoiceDrivers,
    X: Any,
    y: ArrayLike,
    *,
    units: ArrayLike | None = None,
    n_subsamples: int = 100,
    seed: int = 0,
) -> Floats:
    """Share of half-subsamples in which each coefficient is not zero.

    Stability selection at the lambda that the model chose; audit, encoding and screen are the
    model's. A frequency of 0.7 and more is the usual mark of a stable driver.

    Args:
        model: fitted.
        X: the rows it was fitted on, (n, p).
        y: their labels, (n,).
        units: as given to ``fit``; halves hold whole units.
        n_subsamples: halves to draw.
        seed: of the draws.

    Returns:
        (classes, columns), in [0, 1].

    Raises:
        DataError: if halves with all classes are not found.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(80, 3))
        >>> model = ChoiceDrivers(random_state=0).fit(X, X[:, 0] > 0)
        >>> found = selection_frequencies(model, X, X[:, 0] > 0, n_subsamples=10)
        >>> found.shape, float(found[:, 0].max())
        ((2, 3), 1.0)

    References:
        Meinshausen and Bühlmann, 2010, Stability selection, JRSS B 72(4).
    """
    x, labels = model.encoded(X), np.asarray(y)
    codes = np.searchsorted(model.classes_, labels)
    count = len(model.classes_)
    lasso, settings = model.lasso(), model.settings()
    rng, found = np.random.default_rng(seed), np.zeros((count, x.shape[1]))
    for _ in range(n_subsamples):
        half = _half(codes, units, count, rng)
        path = lasso.path(
            x[half],
            codes[half],
            count,
            lambdas=np.array([model.lambda_]),
            tol=max(model.tol, _TOL),
            **settings,
        )
        found += path.tables[0] != 0
    return found / n_subsamples


def _half(
    codes: NDArray[Any], units: ArrayLike | None, count: int, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Rows of half the units; all classes occur."""
    given = np.arange(len(codes)) if units is None else np.asarray(units)
    names, unit = np.unique(given, return_inverse=True)
    for _ in range(_TRIES):
        chosen = np.zeros(len(names), bool)
        chosen[rng.permutation(len(names))[: len(names) // 2]] = True
        half = chosen[unit]
        if (np.bincount(codes[half], minlength=count) > 0).all():
            return half
    least = int(np.bincount(codes).argmin())
    raise DataError(
        f"no half of the units held every class in {_TRIES} draws; class {least} lacks."
    )

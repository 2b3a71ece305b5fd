"""How well held-out outcomes are foretold, beside guesses that know no column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import DataError
from .penalties import Floats

_FLOOR = 1e-15


@final
@dataclass(frozen=True, kw_only=True)
class Assessment:
    """Predictions against held-out outcomes.

    Attributes:
        n: rows.
        accuracy: share predicted right.
        low, high: bootstrap interval of the accuracy, over units where given.
        balanced_accuracy: mean over the classes that occur of the share predicted right.
        log_loss: nats a row.
        brier: mean squared distance of probabilities from outcomes, in [0, 2].
        deviance: twice the log loss.
        null_deviance: that of training shares alone.
        majority_accuracy: of always guessing the largest training class.
        confusion: rows of each true class (first) by predicted class.
        labels: of the classes.
    """

    n: int
    accuracy: float
    low: float
    high: float
    balanced_accuracy: float
    log_loss: float
    brier: float
    deviance: float
    null_deviance: float
    majority_accuracy: float
    confusion: list[list[int]]
    labels: list[Any]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def assess(
    probabilities: Floats,
    codes: NDArray[Any],
    *,
    labels: Sequence[Any],
    train_shares: Floats,
    units: ArrayLike | None = None,
    n_bootstrap: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Assessment:
    """Compare probabilities with outcomes.

    Args:
        probabilities: (n, classes), rows sum to 1.
        codes: true classes, (n,).
        labels: of the classes.
        train_shares: of the classes among training rows, (classes,).
        units: what each row belongs to, (n,); resampled whole.
        n_bootstrap: resamples.
        confidence: of the interval, in (0, 1).
        seed: of the resamples.

    Example:
        >>> p = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.2, 0.2, 0.6]])
        >>> found = assess(p, np.array([0, 1, 1]), labels="abc", train_shares=np.ones(3) / 3)
        >>> round(found.deviance, 6), round(found.accuracy, 3), found.confusion[1]
        (1.651292, 0.667, [0, 1, 1])
    """
    rows, count = probabilities.shape
    if not rows or len(codes) != rows:
        raise DataError(f"{rows} rows of probabilities for {len(codes)} outcomes; both are needed.")
    predicted = probabilities.argmax(1)
    right = (predicted == codes).astype(np.float64)
    confusion = np.zeros((count, count), int)
    np.add.at(confusion, (codes, predicted), 1)
    occurring = confusion.sum(1) > 0
    recalls = np.diag(confusion)[occurring] / confusion.sum(1)[occurring]
    loss = -np.log(np.maximum(probabilities[np.arange(rows), codes], _FLOOR)).mean()
    null = -np.log(np.maximum(train_shares[codes], _FLOOR)).mean()
    low, high = _interval(right, units, n_bootstrap, confidence, seed)
    return Assessment(
        n=rows,
        accuracy=float(right.mean()),
        low=low,
        high=high,
        balanced_accuracy=float(recalls.mean()),
        log_loss=float(loss),
        brier=float(((probabilities - np.eye(count)[codes]) ** 2).sum(1).mean()),
        deviance=float(2 * loss),
        null_deviance=float(2 * null),
        majority_accuracy=float((codes == train_shares.argmax()).mean()),
        confusion=confusion.tolist(),
        labels=list(labels),
    )


def _interval(
    right: Floats, units: ArrayLike | None, n_bootstrap: int, confidence: float, seed: int
) -> tuple[float, float]:
    given = np.arange(len(right)) if units is None else np.asarray(units)
    _, unit = np.unique(given, return_inverse=True)
    hits, sizes = np.bincount(unit, right), np.bincount(unit)
    drawn = np.random.default_rng(seed).multinomial(
        len(sizes), np.full(len(sizes), 1 / len(sizes)), n_bootstrap
    )
    found = (drawn @ hits) / (drawn @ sizes)
    low, high = np.quantile(found, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def split_rows(
    codes: NDArray[Any], units: ArrayLike | None, share: float, seed: int
) -> NDArray[np.bool_]:
    """Which rows to hold out, (n,): whole units, spread over the classes.

    A unit counts for the class that most of its rows have.

    Args:
        codes: class of each row, (n,).
        units: what each row belongs to, (n,); rows by themselves by default.
        share: of each class's units, in (0, 0.5].
        seed: of the draw.

    Example:
        >>> held = split_rows(np.array([0, 0, 1, 1] * 5), np.repeat(np.arange(10), 2), 0.3, 0)
        >>> int(held.sum()), bool((held[::2] == held[1::2]).all())
        (6, True)
    """
    given = np.arange(len(codes)) if units is None else np.asarray(units)
    names, unit = np.unique(given, return_inverse=True)
    counts = np.zeros((len(names), int(codes.max()) + 1))
    np.add.at(counts, (unit, codes), 1.0)
    class_of = counts.argmax(1)
    rng, held, owed = np.random.default_rng(seed), np.zeros(len(names), bool), 0.0
    for k in range(counts.shape[1]):
        members = rng.permutation(np.flatnonzero(class_of == k))
        owed += share * len(members)
        taken = min(round(owed), max(len(members) - 1, 0))
        owed -= taken
        held[members[:taken]] = True
    return held[unit]

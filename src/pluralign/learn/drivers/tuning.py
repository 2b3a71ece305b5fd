"""Choose a strength by cross-validated deviance, folds kept whole by unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from .path import MultinomialLasso, Path
from .penalties import Floats

Rule = Literal["min", "1se"]

_MANY_REPEATS = 5  # of the rows of a class, on average
_FOLD_TOL = 1e-3  # of lambda: a tenth at most of what folds differ by


@final
@dataclass(frozen=True)
class Curve:
    """Deviance of held-out rows at each strength.

    Attributes:
        lambdas: (L,), descending; the same in all folds.
        folds: deviance, -2 mean log p of each fold's rows, (folds, L).
        accuracy: share of rows predicted right in each fold, (folds, L).
        sizes: weight of each fold's rows, (folds,).
        fold_of: fold of each row, (n,); -1 was never held out.
    """

    lambdas: Floats
    folds: Floats
    accuracy: Floats
    sizes: Floats
    fold_of: NDArray[Any]

    @property
    def mean(self) -> Floats:
        """Mean over folds by their size, (L,)."""
        return self.sizes @ self.folds / self.sizes.sum()

    @property
    def error(self) -> Floats:
        """Standard error over folds, (L,)."""
        spread = self.sizes @ (self.folds - self.mean) ** 2 / self.sizes.sum()
        return np.sqrt(spread / (len(self.sizes) - 1))

    def index(self, rule: Rule) -> int:
        """Where on the path a rule stops."""
        least, simplest = lambda_indices(self.lambdas, self.mean, self.error)
        return least if rule == "min" else simplest


def lambda_indices(lambdas: Floats, mean: Floats, error: Floats) -> tuple[int, int]:
    """Index of the least mean, and of the largest lambda within its standard error.

    Ties go to the larger lambda.

    Example:
        >>> lambda_indices(*np.array([[0.2, 0.1, 0.05], [1.1, 0.9, 0.88], [0.1, 0.1, 0.03]]))
        (2, 1)
    """
    by_lambda = np.argsort(-lambdas, kind="stable")
    least = by_lambda[mean[by_lambda].argmin()]
    within = mean[by_lambda] <= mean[least] + error[least]
    return int(least), int(by_lambda[within.argmax()])


def deviance(log_probabilities: Floats, codes: NDArray[Any], weights: Floats) -> Floats:
    """-2 times the weighted mean log-probability of the rows' classes, (L,).

    Args:
        log_probabilities: (L, n, classes).
        codes: (n,).
        weights: (n,).
    """
    own = log_probabilities[:, np.arange(len(codes)), codes]
    return -2 * (own @ weights) / weights.sum()


def cross_validate(
    lasso: MultinomialLasso,
    x: Floats,
    codes: NDArray[Any],
    n_classes: int,
    fold_of: NDArray[Any],
    *,
    weights: Floats,
    lambdas: Floats,
    **settings: Any,
) -> Curve:
    """Held-out deviance of each fold under the path of all the others.

    Means and deviations of columns are those of the rows that a fold is fitted on.

    Args:
        lasso: what to fit.
        x: (n, columns).
        codes: (n,).
        n_classes: number of classes.
        fold_of: fold of each row, (n,), from 0; -1 is never held out.
        weights: (n,).
        lambdas: the same for every fold.
        settings: further arguments of :meth:`MultinomialLasso.path`.
    """
    losses, right, sizes = list[Floats](), list[Floats](), list[float]()
    for fold in range(int(fold_of.max()) + 1):
        held = fold_of == fold
        path: Path = lasso.path(
            x[~held],
            codes[~held],
            n_classes,
            weights=weights[~held],
            lambdas=lambdas,
            tol=max(lasso.tol, _FOLD_TOL),
            **settings,
        )
        found = path.log_probabilities(x[held])
        losses.append(deviance(found, codes[held], weights[held]))
        right.append((found.argmax(-1) == codes[held]) @ weights[held] / weights[held].sum())
        sizes.append(float(weights[held].sum()))
    return Curve(lambdas, np.stack(losses), np.stack(right), np.array(sizes), fold_of)


def folds_by_row(
    x: Floats, codes: NDArray[Any], n_folds: int, seed: int, weights: Floats
) -> NDArray[Any]:
    """Fold of each row, (n,): classes spread evenly, equal rows together; -1 is never held out.

    Folds follow what rows contain and not where they stand, so that neither their order nor
    writing a row twice in place of a weight of 2 changes a result. Rows of a class that
    repeat many times, as those of a few dummies do, are parted all the same. Classes of
    fewer distinct rows than folds stay in training throughout.

    Raises:
        DataError: if no class has two rows to part.
    """
    _, unit = np.unique(np.column_stack([codes, x]), axis=0, return_inverse=True)
    unit = unit.ravel()
    class_of = np.zeros(unit.max() + 1, int)
    class_of[unit] = codes
    repeats = np.bincount(codes, weights) / np.bincount(class_of)
    parted = np.flatnonzero(repeats[codes] >= _MANY_REPEATS)
    unit[parted] = len(class_of) + np.arange(len(parted))
    class_of = np.concatenate([class_of, codes[parted]])
    present = np.isin(np.arange(len(class_of)), unit)
    n_folds = min(n_folds, int(np.bincount(class_of[present]).max()))
    if n_folds < 2:
        raise DataError("no class has two different rows; nothing can be held out.")
    rng, fold_of, place = np.random.default_rng(seed), np.full(len(class_of), -1), 0
    for k in range(int(codes.max()) + 1):
        members = rng.permutation(np.flatnonzero((class_of == k) & present))
        if len(members) < n_folds:
            continue
        fold_of[members] = (place + np.arange(len(members))) % n_folds
        place += len(members)
    return fold_of[unit]


def folds_by_unit(
    units: NDArray[Any], codes: NDArray[Any], n_folds: int, seed: int
) -> NDArray[Any]:
    """Fold of each row, (n,): units stay whole, large ones are placed first, classes even out.

    Raises:
        DataError: if there are fewer units than folds, or a class lies in one unit only.
    """
    names, unit = np.unique(units, return_inverse=True)
    counts = np.zeros((len(names), int(codes.max()) + 1))
    np.add.at(counts, (unit, codes), 1.0)
    if len(names) < n_folds:
        raise DataError(f"there are {len(names)} units for {n_folds} folds; take fewer folds.")
    alone = np.flatnonzero((counts > 0).sum(0) < 2)
    if alone.size:
        raise DataError(
            f"class {int(alone[0])} occurs in one unit only; folds by unit cannot hold it out."
        )
    shuffled = np.random.default_rng(seed).permutation(len(names))
    order = shuffled[np.argsort(-counts[shuffled].max(1), kind="stable")]
    shares = counts.sum(0)
    filled, fold_of = np.zeros((n_folds, counts.shape[1])), np.zeros(len(names), int)
    for one in order:
        # The fold that then holds the most even share of every class.
        after = (filled + counts[one]) / shares
        change = (after**2 - (filled / shares) ** 2).sum(1)
        best = int(np.lexsort((filled.sum(1), change.round(12)))[0])
        fold_of[one] = best
        filled[best] += counts[one]
    return fold_of[unit]

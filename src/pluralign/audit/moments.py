"""Counts, means and variances of many groups at once, and of all the others of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from .intervals import Floats


@final
@dataclass(frozen=True)
class Moments:
    """What tests and shrinkage need to know of K groups, by column, each ``(K,)``.

    Args:
        n: pairs of the group.
        effective: effective number of pairs, ``sum(w)**2 / sum(w**2)``.
        mean: weighted mean; NaN for a group without pairs.
        variance: of one value, such that ``variance / effective`` is the squared standard
            error of the mean; NaN below two pairs.
        gains: weighted share of values above zero.
        losses: weighted share of values below zero.
        skewness: of the values about the mean of their group, the same for all groups:
            one of 8 pairs says nothing of its own.
    """

    n: Floats
    effective: Floats
    mean: Floats
    variance: Floats
    gains: Floats
    losses: Floats
    skewness: Floats

    def of(self, rows: NDArray[np.bool_]) -> Moments:
        """The groups that a mask names."""
        return Moments(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


def moments(
    values: Floats, weights: Floats | None, index: NDArray[np.int64], size: int
) -> tuple[Moments, Moments]:
    """Moments of each group, and of all pairs outside it.

    Args:
        values: ``(N,)``, finite.
        weights: ``(N,)``, positive, or ``None``.
        index: ``(N,)``, group of each pair, in [0, size).
        size: number of groups K.
    """
    weights = np.ones(len(values)) if weights is None else weights
    order = np.lexsort((weights, values, index))  # sums do not depend on the order of the rows
    values, weights, index = values[order], weights[order], index[order]
    centre = float(np.average(values, weights=weights))  # sums of squares keep their digits
    off = values - centre
    columns = [
        np.ones(len(values)),
        weights,
        weights**2,
        weights * off,
        weights**2 * off,
        weights**2 * off**2,
        weights * (values > 0),
        weights * (values < 0),
    ]
    sums = np.zeros((len(columns), size))
    for row, column in zip(sums, columns, strict=True):
        row[:] = np.bincount(index, weights=column, minlength=size)
    residual = off - (sums[3] / np.where(sums[0] > 0, sums[1], 1.0))[index]
    skewness = _skewness(residual, float((sums[0] > 0).sum()))
    others = sums.sum(axis=1, keepdims=True) - sums
    return _moments(sums, centre, skewness), _moments(others, centre, skewness)


def _skewness(residual: Floats, n_means: float) -> float:
    scale = float(np.abs(residual).max())
    freedom = len(residual) - n_means
    if scale <= 0 or freedom <= 0:
        return 0.0
    part = residual / scale
    spread = (part**2).sum() / freedom
    return float((part**3).sum() / freedom / spread**1.5)


def _moments(sums: Floats, centre: float, skewness: float) -> Moments:
    n, w, ww, wx, wwx, wwxx, above, below = np.where(sums[0] > 0, sums, np.nan)
    mean = wx / w
    squares = np.maximum(wwxx - 2 * mean * wwx + mean**2 * ww, 0.0)
    small_sample = n / np.where(n > 1, n - 1, np.nan)
    return Moments(
        n=np.nan_to_num(n),
        effective=w**2 / ww,
        mean=mean + centre,
        variance=squares / ww * small_sample,
        gains=np.clip(above / w, 0.0, 1.0),
        losses=np.clip(below / w, 0.0, 1.0),
        skewness=np.full(len(n), skewness),
    )

"""What shuffling gives beside a statistic, and whether groups differ by more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import DataError, ParameterError
from .tables import Floats, finite_ratings

ROUNDING: Final = 1e-12


@final
@dataclass(frozen=True)
class PermutationTest:
    """A statistic beside what shuffling gives.

    Attributes:
        value: the statistic of the data.
        p_value: ``(1 + count of shuffles at least as large) / (1 + shuffles)``.
        quantile: 95 % quantile of the shuffles; a value above it is called systematic.
        n_permutations: how many shuffles.
    """

    value: float
    p_value: float
    quantile: float
    n_permutations: int

    @property
    def systematic(self) -> bool:
        """Whether the statistic is above the 95 % quantile of the shuffles."""
        return self.value > self.quantile + ROUNDING

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        names = ("value", "p_value", "quantile", "n_permutations", "systematic")
        return {name: getattr(self, name) for name in names}


def group_effect(
    ratings: ArrayLike, groups: Sequence[str], n_permutations: int = 9999, seed: int = 0
) -> PermutationTest:
    """How much of the raters' disagreement goes with their group, tested by shuffling labels.

    Use it to tell disagreement that is systematic from that of single people. A group of one
    rater counts, but shows no spread of its own. The options' own means are taken out first.

    Args:
        ratings: ``(R, S)`` ratings of S options by R raters; ``(R, S, C)`` pools criteria.
        groups: R names.
        n_permutations: shuffles of the labels over raters, at least 99.
        seed: of the shuffles.

    Returns:
        ``eta^2 = sum_s sum_g n_g (mean_gs - mean_s)^2 / sum_s sum_r (x_rs - mean_s)^2`` in
        [0, 1] with its test; 0 with p-value 1 if no two raters differ.

    Raises:
        DataError: if the ratings cannot be used, or all raters are in one group or each in
            one of its own: then there is nothing to compare.
        ParameterError: if ``n_permutations`` is below 99.

    Example:
        >>> ratings = [[4, 1], [4, 2], [3, 1], [4, 1], [1, 4], [2, 4], [1, 3], [1, 4]]
        >>> found = group_effect(ratings, "aaaabbbb", n_permutations=999)
        >>> round(found.value, 3), found.systematic
        (0.893, True)
    """
    given = finite_ratings(ratings, "ratings")
    names, labels = np.unique(np.asarray(list(groups)), return_inverse=True)
    if len(labels) != len(given) or not 1 < len(names) < len(given):
        raise DataError(
            f"group_effect needs a group for each of {len(given)} raters, at least two groups and "
            f"one of two raters or more; got {len(labels)} labels of {len(names)} groups."
        )
    check_permutations(n_permutations)
    centred = (given - given.mean(axis=0)).reshape(len(given), -1)
    rng = np.random.default_rng(seed)
    shuffled = [_between(centred, rng.permutation(labels)) for _ in range(n_permutations)]
    total = float((centred**2).sum()) or 1.0
    return tested(_between(centred, labels) / total, np.array(shuffled) / total)


def _between(centred: Floats, labels: NDArray[np.int64]) -> float:
    member = labels == np.arange(labels.max() + 1)[:, None]
    sums = member.astype(np.float64) @ centred
    return float((sums**2 / member.sum(axis=1)[:, None]).sum())


def tested(value: float, shuffled: Floats) -> PermutationTest:
    """A value with its place among the shuffled ones."""
    larger = int((shuffled >= value - ROUNDING).sum())
    p_value = (1 + larger) / (1 + len(shuffled)) if np.isfinite(value) else float("nan")
    return PermutationTest(value, p_value, float(np.quantile(shuffled, 0.95)), len(shuffled))


def check_permutations(n_permutations: int) -> None:
    """Refuse so few shuffles that no test is possible."""
    if n_permutations < 99:
        raise ParameterError(f"n_permutations must be at least 99; got {n_permutations}.")

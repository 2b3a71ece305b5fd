"""Every package that the budget allows, and the one that a concept chooses: exact to rounding."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from ..errors import ParameterError
from .fields import Floats
from .problem import ROUNDING, PackageProblem

Rows = NDArray[np.int64]
_BLOCK = 2**22  # packages looked at together: bounds the memory, not the result
EXACT_LIMIT = 20


@final
@dataclass(frozen=True, eq=False)
class Designs:
    """Packages with what they cost and give.

    Attributes:
        problem: what they are packages of.
        masks: ``(N,)``; item j of m is bit m-1-j, so of two packages of one cost the larger
            number holds the earlier items.
        cost: ``(N,)``.
        utilities: ``(N, G)``.
        packages: the packages themselves, where there are too many items for a number.
    """

    problem: PackageProblem
    masks: Rows
    cost: Floats
    utilities: Floats
    packages: tuple[tuple[int, ...], ...] | None = None

    def __len__(self) -> int:
        return len(self.masks)

    def at(self, rows: Rows) -> Designs:
        """Some of them."""
        packages = self.packages
        if packages is not None:
            packages = tuple(packages[int(row)] for row in rows)
        return Designs(
            self.problem, self.masks[rows], self.cost[rows], self.utilities[rows], packages
        )

    def rational(self) -> Designs:
        """Those in which no group is below its disagreement point."""
        lowest = self.problem.point - self.problem.tolerance
        return self.at(np.flatnonzero((self.utilities >= lowest).all(axis=1)))

    def package(self, row: int) -> tuple[int, ...]:
        """The items of one of them, ascending."""
        if self.packages is not None:
            return self.packages[row]
        size = self.problem.shape[1]
        return tuple(j for j in range(size) if self.masks[row] >> (size - 1 - j) & 1)


def designs_of(problem: PackageProblem, packages: list[tuple[int, ...]]) -> Designs:
    """Given packages as designs, numbered in lexicographic order."""
    size = problem.shape[1]
    held = np.zeros((len(packages), size))
    for row, package in enumerate(packages):
        held[row, list(package)] = 1.0
    # The larger number holds the earlier items, as with masks.
    order = np.lexsort(held.T[::-1])
    masks = np.empty(len(packages), dtype=np.int64)
    masks[order] = np.arange(len(packages))
    utilities = np.array([problem.utilities(package) for package in packages])
    return Designs(problem, masks, held @ problem.prices, utilities, tuple(packages))


def all_designs(problem: PackageProblem, forced: Mapping[int, bool] | None = None) -> Designs:
    """Every package within budget, conflicts and requirements; ``forced`` items in or out.

    Args:
        problem: with at most 25 items.
        forced: items that must be in (true) or out (false).
    """
    size = problem.shape[1]
    if size > 25:
        raise ParameterError(
            f"enumeration goes to 25 items (33 million packages); there are {size}."
        )
    low = size // 2
    early, late = slice(0, size - low), slice(size - low, size)
    high_cost, low_cost = _sums(problem.prices[early]), _sums(problem.prices[late])
    high_gain = _sums(problem.value_table[:, early].T)
    low_gain = _sums(problem.value_table[:, late].T)
    step = max(1, _BLOCK >> low)
    masks: list[Rows] = []
    for first in range(0, len(high_cost), step):
        cost = high_cost[first : first + step, None] + low_cost
        found = np.flatnonzero(cost.ravel() <= problem.limit) + (first << low)
        masks.append(_permitted(problem, found, forced or {}))
    mask = np.concatenate(masks)
    top, bottom = mask >> low, mask & ((1 << low) - 1)
    cost = high_cost[top] + low_cost[bottom]
    return Designs(problem, mask, cost, problem.start + high_gain[top] + low_gain[bottom])


def _sums(values: Floats) -> Floats:
    """Sums of all subsets of rows; the last row is the lowest bit."""
    found = np.zeros((1, *values.shape[1:]))
    for row in values[::-1]:
        found = np.concatenate([found, found + row])
    return found


def _permitted(problem: PackageProblem, masks: Rows, forced: Mapping[int, bool]) -> Rows:
    size = problem.shape[1]

    def has(item: int) -> NDArray[np.bool_]:
        return (masks >> (size - 1 - item) & 1).astype(np.bool_)

    for i, j in problem.excluded:
        masks = masks[~(has(i) & has(j))]
    for i, j in problem.needed:
        masks = masks[~has(i) | has(j)]
    for item, chosen in forced.items():
        masks = masks[has(item) == chosen]
    return masks


@final
@dataclass(frozen=True, eq=False)
class Frame:
    """What a concept measures packages against.

    Attributes:
        problem: the groups' weights and disagreement point.
        ideal: ``(G,)``, the most that each group gets in any individually rational package.
    """

    problem: PackageProblem
    ideal: Floats

    def normalised(self, utilities: Floats) -> Floats:
        """Share of the way from disagreement to ideal, ``(..., G)``; 1 where there is no way."""
        way = self.ideal - self.problem.point
        none = way <= self.problem.tolerance
        return np.where(none, 1.0, (utilities - self.problem.point) / np.where(none, 1.0, way))


Ranking = Callable[[Designs, Frame], Rows]
"""Which packages a concept cannot improve on, by row; of several the cheapest is chosen."""


def highest(scores: Floats, tolerance: float) -> Rows:
    """Rows that are not worse than the best."""
    return np.flatnonzero(scores >= scores.max() - tolerance)


def leximin(levels: Floats, tolerance: float) -> Rows:
    """Rows whose worst level is highest; among those whose second worst is; and so on."""
    rows = highest(levels.min(axis=1), tolerance)
    ordered = np.sort(levels[rows], axis=1)
    for k in range(1, levels.shape[1]):
        kept = highest(ordered[:, k], tolerance)
        rows, ordered = rows[kept], ordered[kept]
    return rows


def _fullest(designs: Designs, scores: Floats, frame: Frame) -> Rows:
    """Of the best those with the largest total, so that no group is worse off for nothing."""
    rows = highest(scores, frame.problem.tolerance)
    return rows[highest(designs.utilities[rows].sum(axis=1), frame.problem.tolerance)]


def _utilitarian(designs: Designs, frame: Frame) -> Rows:
    return _fullest(designs, designs.utilities @ frame.problem.shares, frame)


def _egalitarian(designs: Designs, frame: Frame) -> Rows:
    return _fullest(designs, (designs.utilities - frame.problem.point).min(axis=1), frame)


def _leximin(designs: Designs, frame: Frame) -> Rows:
    return leximin(designs.utilities, frame.problem.tolerance)


def _nash(designs: Designs, frame: Frame) -> Rows:
    gain = designs.utilities - frame.problem.point
    gaining = gain > frame.problem.tolerance
    rows = highest(gaining.sum(axis=1).astype(np.float64), 0.5)
    logs = np.log(np.where(gaining[rows], gain[rows], 1.0))
    return rows[highest(logs @ frame.problem.shares, ROUNDING)]


def _kalai_smorodinsky(designs: Designs, frame: Frame) -> Rows:
    return leximin(frame.normalised(designs.utilities), ROUNDING)


def _min_max_regret(designs: Designs, frame: Frame) -> Rows:
    return _fullest(designs, -(frame.ideal - designs.utilities).max(axis=1), frame)


RANKINGS: Mapping[str, Ranking] = {
    "utilitarian": _utilitarian,
    "egalitarian": _egalitarian,
    "leximin": _leximin,
    "nash": _nash,
    "kalai_smorodinsky": _kalai_smorodinsky,
    "min_max_regret": _min_max_regret,
}


def chosen(designs: Designs, frame: Frame, ranking: Ranking) -> int:
    """The row that a concept chooses: of equals the cheapest, then the earliest items."""
    rows = ranking(designs, frame)
    rows = rows[highest(-designs.cost[rows], 1e-12 * frame.problem.budget)]
    return int(rows[np.argmax(designs.masks[rows])])

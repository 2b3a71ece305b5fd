"""Large problems: a bound from the relaxed problem, then every package that comes near it.

Of the relaxed problem only its prices are kept: for *any* weights of the groups and prices of
the constraints that are not negative, ``ceiling + sum_j slope_j x_j`` is at least what a package
is worth. A package that differs from the signs of the slopes loses what those slopes are, so
all packages within ``delta`` of the ceiling are the subsets of few items whose slopes sum to at
most ``delta``. Once the best of them is within ``delta`` of the ceiling, it is the best of all,
and everything equal to it has been seen: no tolerance of a solver enters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast, final

import numpy as np
from numpy.typing import NDArray

from .enumeration import Designs, designs_of
from .fields import Floats
from .problem import ROUNDING, PackageProblem

_MOST = 2**21  # packages held at once; beyond, the mixed-integer solver takes over
_BLOCK = 2**17
_WORD = 62  # changes that one integer of a mask holds
_TANGENTS = 40
_WIDER = 1.25  # lists grow exponentially with delta: a wide last step would cost more than many


@final
@dataclass(frozen=True, eq=False)
class Aim:
    """What is made as large as possible.

    Attributes:
        kind: ``sum`` of levels, the ``least`` of them, or the sum of their ``logs``.
        origin: ``(G,)``; a level is (utility - origin) / way.
        way: ``(G,)``, > 0.
        share: ``(G,)`` weights of the levels; of ``least`` only zero or not matters.
    """

    kind: Literal["sum", "least", "logs"]
    origin: Floats
    way: Floats
    share: Floats

    def levels(self, utilities: Floats) -> Floats:
        """Levels, ``(..., G)``."""
        return (utilities - self.origin) / self.way

    def value(self, utilities: Floats) -> Floats:
        """What is made large, ``(...)``."""
        levels = self.levels(utilities)
        if self.kind == "sum":
            return levels @ self.share
        counted = levels[..., self.share > 0]
        if self.kind == "least":
            return counted.min(axis=-1)
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.log(counted) @ self.share[self.share > 0]
        return np.where((counted > 0).all(axis=-1), logs, -np.inf)


@final
@dataclass(frozen=True, eq=False)
class Ceiling:
    """No package is worth more than ``constant + slopes @ x``."""

    constant: float
    slopes: Floats

    def top(self, low: Floats, high: Floats) -> float:
        """The most over all x between two vectors."""
        return self.constant + float(np.maximum(self.slopes * low, self.slopes * high).sum())


@final
@dataclass(frozen=True, eq=False)
class Found:
    """Result of a search.

    Attributes:
        designs: all packages that are best, or ``None`` where the search was given up.
        bound: no package is worth more.
        possible: whether there is any package at all, as far as known.
    """

    designs: Designs | None
    bound: float
    possible: bool = True


def search(problem: PackageProblem, aim: Aim, forced: Mapping[int, bool] | None = None) -> Found:
    """All individually rational packages with the largest aim."""
    low, high = _box(problem, forced or {})
    ceiling = _ceiling(problem, aim, low, high)
    if ceiling is None:
        return Found(None, -np.inf, possible=False)
    top, everything = ceiling.top(low, high), float(np.abs(ceiling.slopes) @ (high - low))
    delta, bound = max(1e-5 * everything, 1e-9), top
    while True:
        # With that much to lose every package has been looked at.
        least = top - delta if delta < everything else -np.inf
        near = _near(problem, ceiling, delta, low, high, _floor(aim, least))
        if near is None:
            return Found(None, bound)
        best = _best(problem, aim, near, least)
        if best is not None:
            return Found(best, bound)
        if delta >= everything:
            return Found(None, -np.inf, possible=False)
        delta, bound = _WIDER * delta, top - delta


def _box(problem: PackageProblem, forced: Mapping[int, bool]) -> tuple[Floats, Floats]:
    low, high = np.zeros(problem.shape[1]), np.ones(problem.shape[1])
    for item, chosen in forced.items():
        low[item] = high[item] = float(chosen)
    return low, high


@final
@dataclass(frozen=True, eq=False)
class _Limits:
    """Constraints ``matrix @ x <= right``: budget, pairs, and no group below disagreement."""

    matrix: Floats
    right: Floats


def _limits(problem: PackageProblem) -> _Limits:
    size = problem.shape[1]
    rows, right = [problem.prices], [problem.limit]
    for pairs, sign, most in ((problem.excluded, 1.0, 1.0), (problem.needed, -1.0, 0.0)):
        for i, j in pairs:
            row = np.zeros(size)
            row[i], row[j] = 1.0, sign
            rows.append(row)
            right.append(most)
    room = problem.start - problem.point + problem.tolerance
    below = np.flatnonzero(np.minimum(problem.value_table, 0).sum(axis=1) + room < 0)
    return _Limits(
        np.vstack([*rows, -problem.value_table[below]]), np.concatenate([right, room[below]])
    )


def _ceiling(problem: PackageProblem, aim: Aim, low: Floats, high: Floats) -> Ceiling | None:
    """The bound of the relaxed problem; ``None`` if even that has no solution."""
    limits = _limits(problem)
    weights, constant = aim.share / aim.way, -float(aim.share @ (aim.origin / aim.way))
    if aim.kind == "least":
        found = _weights_of_least(problem, aim, limits, low, high)
        if found is None:
            return None
        weights, constant = found / aim.way, -float(found @ (aim.origin / aim.way))
    elif aim.kind == "logs":
        gain = _gains_of_logs(problem, aim, limits, low, high)
        if gain is None:
            return None
        weights = aim.share / gain
        logs = np.log(np.where(aim.share > 0, gain / aim.way, 1.0))
        constant = float(aim.share @ logs) - float(weights @ (gain + aim.origin))
    objective = weights @ problem.value_table
    solved = _linear(-objective, limits.matrix, limits.right, low, high)
    if solved is None:
        return None
    prices = np.maximum(-solved.ineqlin.marginals, 0)
    return Ceiling(
        constant + float(weights @ problem.start) + float(prices @ limits.right),
        objective - prices @ limits.matrix,
    )


def _linear(cost: Floats, matrix: Floats, right: Floats, low: Floats, high: Floats) -> Any:
    from scipy.optimize import linprog

    found = cast(
        Any,
        linprog(
            cost, A_ub=matrix, b_ub=right, bounds=np.stack([low, high], axis=1), method="highs"
        ),
    )
    return found if found.status == 0 else None


def _weights_of_least(
    problem: PackageProblem, aim: Aim, limits: _Limits, low: Floats, high: Floats
) -> Floats | None:
    """How much each level counts where the least is largest: prices of ``t <= level_g``."""
    held = np.flatnonzero(aim.share > 0)
    table = problem.value_table[held] / aim.way[held, None]
    start = aim.levels(problem.start)[held]
    matrix = np.block(
        [[-table, np.ones((len(held), 1))], [limits.matrix, np.zeros((len(limits.right), 1))]]
    )
    size = problem.shape[1]
    lowest = float((start + np.minimum(table, 0).sum(axis=1)).min())
    found = _linear(
        np.append(np.zeros(size), -1.0),
        matrix,
        np.concatenate([start, limits.right]),
        np.append(low, lowest),
        np.append(high, np.inf),
    )
    if found is None:
        return None
    prices = np.maximum(-found.ineqlin.marginals[: len(held)], 0)
    weights = np.zeros(problem.shape[0])
    weights[held] = prices / prices.sum() if prices.sum() > 0 else 1 / len(held)
    return weights


def _gains_of_logs(
    problem: PackageProblem, aim: Aim, limits: _Limits, low: Floats, high: Floats
) -> Floats | None:
    """Gains at which the sum of logs of the relaxed problem is largest, by tangents of the log."""
    groups, size = np.flatnonzero(aim.share > 0), problem.shape[1]
    table = problem.value_table[groups]
    start = (problem.start - aim.origin)[groups]
    most = start + np.maximum(table, 0).sum(axis=1)
    if (most <= 0).any():
        return None
    count = len(groups)
    matrix = np.hstack([limits.matrix, np.zeros((len(limits.right), count))])
    right, gain = limits.right, most
    cost = np.append(np.zeros(size), -aim.share[groups])
    box = np.append(low, np.full(count, -1e3)), np.append(high, np.full(count, np.inf))
    for _ in range(_TANGENTS):
        # log(y / most) <= log(p / most) + (y - p) / p at every point p that was visited
        tangents = np.hstack([-table / gain[:, None], np.eye(count)])
        matrix = np.vstack([matrix, tangents])
        right = np.concatenate([right, np.log(gain / most) - 1 + start / gain])
        found = _linear(cost, matrix, right, *box)
        if found is None:
            return None
        reached = np.maximum(start + table @ found.x[:size], 1e-9 * most)
        truth = float(aim.share[groups] @ np.log(reached / most))
        gain = reached
        if -found.fun - truth <= 1e-9:
            break
    full = np.ones(problem.shape[0])
    full[groups] = gain
    return full


@final
@dataclass(frozen=True, eq=False)
class _Near:
    """Packages near the ceiling: the usual one with some of the ``free`` items changed."""

    usual: NDArray[np.bool_]
    free: NDArray[np.int64]
    masks: NDArray[np.int64]

    def changed(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which free items are not as usual, ``(N, n)``."""
        bits = np.arange(len(self.free))
        return (self.masks[rows][:, bits // _WORD] >> bits % _WORD & 1).astype(np.bool_)

    def package(self, row: int) -> tuple[int, ...]:
        """The items of one of them, ascending."""
        held = self.usual.copy()
        held[self.free] ^= self.changed(np.array([row]))[0]
        return _numbers(held)


def _numbers(held: NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(int(j) for j in np.flatnonzero(held))


def _floor(aim: Aim, least: float) -> Floats:
    """Utilities that every group must reach for the least level to be ``least``."""
    if aim.kind != "least" or least == -np.inf:
        return np.full(len(aim.way), -np.inf)
    slack = ROUNDING * (1 + abs(least))
    return np.where(aim.share > 0, aim.origin + aim.way * (least - slack), -np.inf)


def _near(
    problem: PackageProblem,
    ceiling: Ceiling,
    delta: float,
    low: Floats,
    high: Floats,
    floor: Floats,
) -> _Near | None:
    """All that is affordable, loses at most ``delta`` and can reach ``floor``.

    ``None`` if that is too much.
    """
    loss = np.where(low < high, np.abs(ceiling.slopes), np.inf)
    usual = np.where(low < high, ceiling.slopes > 0, low > 0.5)
    free = np.flatnonzero(loss <= delta)
    free = free[np.argsort(-loss[free], kind="stable")]
    # One column for each group's room above its floor and one for the money that is left.
    room = np.append(problem.utilities(_numbers(usual)) - floor, problem.limit)
    room[-1] -= problem.prices[usual].sum()
    change = np.vstack([problem.value_table, -problem.prices])[:, free].T
    change = np.where(usual[free, None], -change, change)
    gains = np.vstack([np.cumsum(np.maximum(change, 0)[::-1], axis=0)[::-1], np.zeros(len(room))])
    slack = ROUNDING * np.append(np.full(len(floor), problem.scale), 1 + problem.budget)
    masks = np.zeros((1, 1 + len(free) // _WORD), dtype=np.int64)
    rooms, lost = room[None], np.zeros(1)
    for bit, item in enumerate(free):
        kept = lost + loss[item] <= delta
        with_item = masks[kept]
        with_item[:, bit // _WORD] |= 1 << bit % _WORD
        masks = np.concatenate([masks, with_item])
        rooms = np.concatenate([rooms, rooms[kept] + change[bit]])
        lost = np.concatenate([lost, lost[kept] + loss[item]])
        # What is still to come can mend only so much.
        kept = (rooms >= -gains[bit + 1] - slack).all(axis=1)
        masks, rooms, lost = masks[kept], rooms[kept], lost[kept]
        if len(masks) > _MOST:
            return None
    return _Near(usual, free, masks)


def _best(problem: PackageProblem, aim: Aim, near: _Near, least: float) -> Designs | None:
    """Of these packages those with the largest aim, if it is at least ``least``."""
    best, rows = -np.inf, np.zeros(0, dtype=np.int64)
    slack = ROUNDING * max(1.0, float(np.abs(aim.levels(problem.start)).max()))
    if aim.kind == "sum":
        slack = ROUNDING * problem.scale * float((aim.share / aim.way).max())
    for first in range(0, len(near.masks), _BLOCK):
        block = np.arange(first, min(first + _BLOCK, len(near.masks)))
        value = aim.value(_utilities(problem, near, block))
        value[~_permitted(problem, near, block)] = -np.inf
        top = float(value.max(initial=-np.inf))
        if top == -np.inf or top < best - slack:
            continue
        best = max(best, top)
        rows = np.concatenate([rows, block[value >= best - slack]])
    if not len(rows) or best < least:
        return None
    return designs_of(problem, [near.package(int(row)) for row in rows])


def _chosen_bits(near: _Near, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which free items are in, ``(N, n)``."""
    return near.changed(rows) ^ near.usual[near.free]


def _utilities(problem: PackageProblem, near: _Near, rows: NDArray[np.int64]) -> Floats:
    fixed = near.usual.copy()
    fixed[near.free] = False
    start = problem.start + problem.value_table[:, fixed].sum(axis=1)
    return start + _chosen_bits(near, rows) @ problem.value_table[:, near.free].T


def _permitted(problem: PackageProblem, near: _Near, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Within budget, conflicts, requirements and individual rationality."""
    bits = _chosen_bits(near, rows)
    place = {int(j): b for b, j in enumerate(near.free)}

    def has(item: int) -> NDArray[np.bool_]:
        if item in place:
            return bits[:, place[item]]
        return np.full(len(rows), bool(near.usual[item]))

    fixed = near.usual.copy()
    fixed[near.free] = False
    spent = float(problem.prices[fixed].sum()) + bits @ problem.prices[near.free]
    good = spent <= problem.limit
    for i, j in problem.excluded:
        good &= ~(has(i) & has(j))
    for i, j in problem.needed:
        good &= ~has(i) | has(j)
    lowest = problem.point - problem.tolerance
    return good & (_utilities(problem, near, rows) >= lowest).all(axis=1)

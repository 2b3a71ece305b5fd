"""Whole samples: buy batch by batch where the next one does most."""

from __future__ import annotations

import heapq
from collections.abc import Generator
from itertools import islice

import numpy as np
from numpy.typing import ArrayLike

from ..errors import ParameterError
from .curves import Floats, PowerCurves
from .levels import GainPath, LossPath, level_path
from .problem import Allocation, Problem, evaluated, warn
from .welfare import Isoelastic, Objective, ParityPenalised

_STEP_BY_STEP = 5_000  # more batches than this start from a level that all of them share
_WIDE = 8  # groups that the last purchases are chosen among


def allocate_whole(
    curves: PowerCurves,
    *,
    cost: ArrayLike,
    budget: float,
    objective: Objective | None = None,
    weights: ArrayLike | None = None,
    held: ArrayLike = 0.0,
    limit: ArrayLike = np.inf,
    best: float = 1.0,
    batch: int = 1,
    polish: int = 6,
) -> Allocation:
    """How many whole samples of each group to buy: marginal analysis, then the last few anew.

    Use it to place an order. With one price for all groups it is the integer optimum (Fox;
    Gross), and a larger budget only ever adds purchases. With several prices the last
    purchases may not fit the money that is left: they are undone and chosen anew among all
    ways that fit.

    Args:
        curves: see :func:`allocate`, as ``cost`` to ``best``.
        cost: price of a sample, > 0.
        budget: money on top of what is held, > 0.
        objective: ``Isoelastic(eps=1)`` if not given.
        weights: welfare weights.
        held: samples that each group has already.
        limit: samples that each group can have at most.
        best: performance is ``best - loss``.
        batch: samples bought at a time, >= 1.
        polish: purchases to undo and choose anew where prices differ; 0 for none.

    Raises:
        ParameterError: as :func:`allocate`; for an objective without marginal analysis.

    Example:
        >>> curves = PowerCurves(a=0.0, b=[1.0, 1.5, 2.0], gamma=0.5)
        >>> bought = allocate_whole(curves, cost=1, budget=60, weights=[0.7, 0.2, 0.1], held=1,
        ...                         objective=Isoelastic(eps=0))
        >>> bought.counts.tolist()
        [31.0, 18.0, 14.0]

    References:
        Fox, 1966, Management Science 13(3). Gross, 1956, AFOSR.
    """
    if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
        raise ParameterError(f"batch must be an integer >= 1; got {batch!r}.")
    if isinstance(polish, bool) or not isinstance(polish, int) or polish < 0:
        raise ParameterError(f"polish must be an integer >= 0; got {polish!r}.")
    problem = Problem(curves, cost, budget, weights, held, limit, best)
    goal = Isoelastic() if objective is None else objective
    prices = problem.arrays()[0] * batch
    if budget < prices.min():
        warn(
            f"allocate_whole: the budget {budget:g} is smaller than the cheapest batch "
            f"({prices.min():g}); nothing is bought."
        )
    walk = Walk(problem, goal, batch)
    walk.jump()
    bought = list(walk.steps())
    if polish and np.ptp(prices) > 0:
        walk.choose_anew(bought[-polish:])
    return evaluated(problem, walk.counts, goal)


class Walk:
    """Marginal analysis in progress: counts so far, and the money that is left.

    Args:
        problem: what is to be allocated.
        objective: a sum of utilities, or maximin.
        batch: samples bought at a time.
    """

    def __init__(self, problem: Problem, objective: Objective, batch: int = 1) -> None:
        if isinstance(objective, ParityPenalised):
            raise ParameterError(
                "a parity penalty is not concave, so that buying step by step is not optimal; "
                "use allocate and round its counts."
            )
        self.problem, self.objective, self.batch = problem, objective, batch
        self.cost, self.weights, held, self.limit = problem.arrays()
        self.counts, self.money = held.copy(), float(problem.budget)
        self.slack = 1e-9 * self.money  # prices such as 0.1 do not add up to the last digit
        self.path: GainPath | LossPath | None = None
        if problem.open_groups().any():
            self.path = level_path(problem, objective)
        else:
            warn("no group can gain from more samples (b = 0 everywhere); nothing is bought.", 4)

    def steps(self) -> Generator[int]:
        """Buy until nothing fits; yields the group of each purchase."""
        if self.path is None:
            return
        first = self.path.priority(self.counts, self.batch)
        queue = [(-value, group) for group, value in enumerate(first.tolist()) if value > 0]
        heapq.heapify(queue)
        while queue:
            _, group = heapq.heappop(queue)
            if not self._fits(group):
                continue
            self.counts[group] += self.batch
            self.money -= float(self.cost[group]) * self.batch
            yield group
            value = float(self.path.priority(self.counts, self.batch, [group])[0])
            if value > 0:
                heapq.heappush(queue, (-value, group))

    def _fits(self, group: int) -> bool:
        room = self.limit[group] - self.counts[group] >= self.batch
        return bool(room and self.cost[group] * self.batch <= self.money + self.slack)

    def jump(self) -> None:
        """Buy at once what every group gets before any reaches a common level, if that is much."""
        if self.path is None or self.money / (self.cost.min() * self.batch) <= _STEP_BY_STEP:
            return
        path, held = self.path, self.counts
        low, high = path.range
        while high - low > 1e-13 * max(1.0, abs(high)):
            middle = 0.5 * (low + high)
            if self._spent(self._at(path, middle)) <= self.money:
                high = middle
            else:
                low = middle
        self.counts = self._at(path, high)
        self.money -= float(self.cost @ (self.counts - held))

    def _spent(self, counts: Floats) -> float:
        return float(self.cost @ (counts - self.problem.arrays()[2]))

    def _at(self, path: GainPath | LossPath, level: float) -> Floats:
        """Counts after all batches whose gain reaches the level."""
        held = self.problem.arrays()[2]
        wanted, _ = path.counts(level)
        most = np.floor((self.limit - held) / self.batch)
        batches = np.floor((wanted - held) / self.batch)
        counts = held + self.batch * batches
        batches += path.takes(level, path.priority(counts, self.batch))
        return held + self.batch * np.minimum(batches, most)

    def choose_anew(self, last: list[int]) -> None:
        """Undo the last purchases and take the best of all ways to spend their money."""
        if not last or self.path is None:
            return
        for group in last:
            self.counts[group] -= self.batch
            self.money += float(self.cost[group]) * self.batch
        order = np.argsort(-self.path.priority(self.counts, self.batch), kind="stable")
        among = list(dict.fromkeys([*last, *order[:_WIDE].tolist()]))[:_WIDE]
        ways = list(islice(self._ways(among, self.money), 200_000))
        base, weights = self.counts[among], self.weights[among]
        tried = base + self.batch * np.asarray(ways)
        performance = self.problem.best - self.problem.curves.loss(tried, among)
        values = [self.objective.value(row, weights) for row in performance]
        way = np.asarray(ways[int(np.argmax(values))])
        self.counts[among] = base + self.batch * way
        self.money -= float(self.cost[among] @ way) * self.batch

    def _ways(self, among: list[int], money: float) -> Generator[tuple[int, ...]]:
        """Numbers of batches of each group that the money buys, nothing left that would fit."""
        group, others = among[0], among[1:]
        price = float(self.cost[group]) * self.batch
        room = (self.limit[group] - self.counts[group]) / self.batch
        most = int(min((money + self.slack) / price, room))
        if not others:
            yield (most,)
            return
        for n in range(most, -1, -1):
            for rest in self._ways(others, money - n * price):
                yield (n, *rest)

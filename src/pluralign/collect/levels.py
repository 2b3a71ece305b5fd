"""All optimal allocations of a separable problem, found by one number: the common gain or loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
from numpy.typing import NDArray

from ..errors import ParameterError
from .curves import EVERY, Floats, Groups
from .problem import Problem
from .welfare import (
    Maximin,
    Objective,
    Welfare,
)

_SHIFT = "shift the metric (a larger best), or use the utilitarian objective or Maximin."
_FEWEST, _NOTHING = 1e-300, 1e-260  # stand for 0 where a logarithm is taken
_STEPS = 200  # far above what is ever needed: a dozen with derivatives, sixty without
_TIGHT = 1e-15
_INNER, _OUTER = 1e-9, 1e-13  # Newton squares its error: after such a step nothing is left


def solved(problem: Problem, objective: Objective) -> tuple[Floats, float]:
    """Counts that exhaust the budget (or all limits), and the welfare of the next unit of money."""
    cost, _, held, limit = problem.arrays()
    with np.errstate(invalid="ignore"):
        everything = np.where(problem.open_groups(), limit, held)
    if float(cost @ (everything - held)) <= problem.budget:
        return everything, 0.0
    path = level_path(problem, objective)

    def excess(level: Floats) -> tuple[Floats, Floats]:
        counts, slope = path.counts(float(level[0]))
        spent = float(cost @ (counts - held))
        over = np.log(spent / problem.budget) if spent > 0 else -np.inf
        return np.array([over]), np.array([float(cost @ slope) / spent if spent > 0 else 0.0])

    low, high = (np.array([end]) for end in path.range)
    level = float(falling_roots(excess, low, high, 0.5 * (low + high), _OUTER)[0])
    counts, slope = path.counts(level)
    return _exact_to_budget(problem, counts, slope), path.multiplier(level, slope)


def _exact_to_budget(problem: Problem, counts: Floats, slope: Floats) -> Floats:
    """Spread the last rounding error of the search over the groups that are still moving."""
    cost, _, held, limit = problem.arrays()
    rest = problem.budget - float(cost @ (counts - held))
    moving = -slope * cost
    if moving.sum() > 0:
        counts = np.clip(counts + rest * (-slope) / moving.sum(), held, limit)
    return counts


def level_path(problem: Problem, objective: Objective) -> GainPath | LossPath:
    """All optimal allocations of a separable problem, from nothing to everything, by one level."""
    if isinstance(objective, Maximin):
        return LossPath(problem)
    return GainPath(problem, cast(Welfare, objective))


def _too_much(problem: Problem) -> Floats:
    """Samples that a group cannot get even for all of the money; never fewer than is held."""
    cost, _, held, limit = problem.arrays()
    return np.minimum(held + 2 * problem.budget / cost, limit)


def _even(problem: Problem) -> Floats:
    """Samples for equal money; where limits bind, what each could get for all of it.

    The common level lies between the lowest and the highest level that groups have here.
    """
    cost, _, held, limit = problem.arrays()
    taking = problem.open_groups()
    even = held + problem.budget / (taking.sum() * cost)
    return (
        even if (even <= limit)[taking].all() else np.minimum(held + problem.budget / cost, limit)
    )


class LossPath:
    """Maximin: nobody's loss above a level; groups that are better already receive nothing.

    The level is the logarithm of the distance to the lowest loss that can be reached, so that
    the last digits of a level near it are not lost.
    """

    def __init__(self, problem: Problem) -> None:
        _, _, self._held, self._limit = problem.arrays()
        self._a, b, self._gamma = problem.curves.arrays()
        self.problem, self._open = problem, problem.open_groups()
        endless = self._open & np.isinf(self._limit)
        self._lowest = float(self._a[endless].max() if endless.any() else self._a[self._open].min())
        self._log_b = np.log(np.where(self._open, b, 1.0))
        self.range = self._range()

    def _range(self) -> tuple[float, float]:
        """A level at which all money is spent, and one at which no more than that is."""
        loss, limited = self.problem.curves.loss, np.isfinite(self._limit).any()
        even = loss(_even(self.problem))[self._open]
        first = loss(np.maximum(self._held, _FEWEST))[self._open] if limited else even
        last = max(even.min(), self._lowest)
        with np.errstate(divide="ignore"):
            ends = np.log(np.array([last, first.max()]) - self._lowest)
        return float(np.clip(ends[0], -700.0, 699.0)), float(np.clip(ends[1], -699.0, 700.0))

    def counts(self, level: float) -> tuple[Floats, Floats]:
        """``(G,)`` counts and their derivatives by the level."""
        above = np.exp(level) + (self._lowest - self._a)
        reach = self._open & (above > 0)
        safe = np.where(reach, above, 1.0)
        with np.errstate(over="ignore"):
            wanted = np.exp((self._log_b - np.log(safe)) / self._gamma)
        wanted = np.where(reach, wanted, np.inf)
        counts = np.where(self._open, np.clip(wanted, self._held, self._limit), self._held)
        moving = reach & (wanted > self._held) & (wanted < self._limit)
        with np.errstate(over="ignore", invalid="ignore"):
            slope = -wanted / self._gamma * (np.exp(level) / safe)
        return counts, np.where(moving, slope, 0.0)

    def multiplier(self, level: float, slope: Floats) -> float:
        """How much lower the worst loss is for one more unit of money."""
        steep = -float(self.problem.arrays()[0] @ slope)
        return float(np.exp(level)) / steep if steep > 0 else 0.0

    def priority(self, counts: Floats, batch: float, at: Groups = EVERY) -> Floats:
        """Who is served next: the largest loss; -inf for those who cannot gain."""
        return np.where(self._open[at], self.problem.curves.loss(counts[at], at), -np.inf)

    def takes(self, level: float, priority: Floats) -> NDArray[np.bool_]:
        """Who is served at a level of :meth:`counts`."""
        return priority > self._lowest + np.exp(level)


class GainPath:
    """Sums of utilities: each group is bought until its gain a unit of money falls to a level.

    The level is the logarithm of that gain. The search for a group's count runs over
    ``y = log n``; where performance must stay positive, over ``y`` with
    ``n = n_low exp(exp(y) / gamma)``: then performance is ``-(best - a) expm1(-exp(y))`` to
    the last digit, however close to 0.
    """

    def __init__(self, problem: Problem, welfare: Welfare) -> None:
        self.problem, self.welfare = problem, welfare
        cost, weights, self._held, self._limit = problem.arrays()
        a, b, self._gamma = problem.curves.arrays()
        self._open = problem.open_groups()
        self._bounded = bool(np.isfinite(welfare.lowest))
        if self._bounded:
            self._check_possible()
            self._check_affordable()
        self._log_b = np.log(np.where(self._open, b, 1.0))
        self._log_scale = np.log(np.where(self._open, weights * b * self._gamma / cost, 1.0))
        self._room = problem.best - a
        if self._bounded:
            self._room = np.where(self._open, self._room - welfare.lowest, 1.0)
            self._log_low = (self._log_b - np.log(self._room)) / self._gamma
        self._low, self._high = self._y(self._held), self._y(_too_much(problem))
        self._at_low, self._at_high = self._log_gain(self._low)[0], self._log_gain(self._high)[0]
        self._last = self._y(_even(problem))
        levels = self._log_gain(self._last)[0][self._open]
        first = self._at_low[self._open] if np.isfinite(self._limit).any() else levels
        self.range = float(levels.min()), float(first.max())

    def _check_possible(self) -> None:
        """Refuse groups whose performance never rises above what the utility needs."""
        curves, lowest = self.problem.curves, self.welfare.lowest
        weights = self.problem.arrays()[1]
        at_most = np.where(self._open, self._limit, self._held)
        loss = curves.loss(at_most)
        stuck = (weights > 0) & (self.problem.best - loss <= lowest)
        if stuck.any():
            group = int(np.flatnonzero(stuck)[0])
            raise ParameterError(
                f"group {curves.names[group]!r} cannot have a performance above {lowest:g}: its "
                f"loss stays at {loss[group]:.6g} with best={self.problem.best:g}; {_SHIFT}"
            )

    def _check_affordable(self) -> None:
        """Refuse a budget that cannot lift all groups above what the utility needs."""
        cost, weights, _, _ = self.problem.arrays()
        curves, lowest = self.problem.curves, self.welfare.lowest
        needed = np.where(weights > 0, curves.needed(self.problem.best - lowest), 0.0)
        missing = cost * np.maximum(needed - self._held, 0.0)
        if missing.sum() >= self.problem.budget:
            group = int(np.argmax(missing))
            raise ParameterError(
                f"performance above {lowest:g} in every group costs {missing.sum():.6g}, the "
                f"budget is {self.problem.budget:.6g}; group {curves.names[group]!r} "
                f"needs {needed[group]:.6g} samples for it; {_SHIFT}"
            )

    def _y(self, n: Floats) -> Floats:
        """What stands for n samples in the search."""
        log_n = np.log(np.maximum(n, _FEWEST))
        if not self._bounded:
            return log_n
        q = np.maximum(self._gamma * (log_n - self._log_low), 0.0)
        return np.log(np.maximum(q, _NOTHING))

    def _log_gain(self, y: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """Logarithmic gain a unit of money, its derivative by y, log n, its derivative."""
        log_n, stretch, welfare = y, np.ones_like(y), self.welfare
        with np.errstate(all="ignore"):
            if self._bounded:
                q = np.exp(y)
                log_n, stretch = self._log_low + q / self._gamma, q / self._gamma
                removed = self._room * np.exp(-q)
                performance = welfare.lowest - self._room * np.expm1(-q)
            else:
                removed = np.exp(self._log_b - self._gamma * y)
                performance = self._room - removed
            gain = self._log_scale - (self._gamma + 1) * log_n + welfare.log_slope(performance)
            slope = -(self._gamma + 1) - welfare.aversion(performance) * self._gamma * removed
        return np.where(np.isnan(gain), np.inf, gain), slope * stretch, log_n, stretch

    def counts(self, level: float) -> tuple[Floats, Floats]:
        """``(G,)`` counts and their derivatives by the level."""

        def above(y: Floats) -> tuple[Floats, Floats]:
            gain, slope, _, _ = self._log_gain(y)
            return gain - level, slope

        least = ~self._open | (self._at_low <= level)
        most = ~least & (self._at_high >= level)
        low = np.where(most, self._high, self._low)
        high = np.where(least, self._low, self._high)
        start = np.clip(self._last, low, high)
        y = self._last = falling_roots(above, low, high, start, _INNER)
        _, slope, log_n, stretch = self._log_gain(y)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            wanted = np.exp(log_n)
            change = wanted * stretch / slope
        counts = np.where(least, self._held, np.where(most, _too_much(self.problem), wanted))
        moving = ~least & ~most & np.isfinite(change)
        return np.clip(counts, self._held, self._limit), np.where(moving, change, 0.0)

    def multiplier(self, level: float, slope: Floats) -> float:
        """Welfare of the next unit of money."""
        return float(np.exp(level))

    def priority(self, counts: Floats, batch: float, at: Groups = EVERY) -> Floats:
        """Who is served next: welfare a unit of money that the next batch adds."""
        cost, weights, _, _ = self.problem.arrays()
        loss, best, lowest = self.problem.curves.loss, self.problem.best, self.welfare.lowest
        now, then = best - loss(counts[at], at), best - loss(counts[at] + batch, at)
        with np.errstate(invalid="ignore"):
            worth = self.welfare.utility(then) - self.welfare.utility(now)
            gain = weights[at] * worth / (cost[at] * batch)
        # Below the least performance nothing counts but to get above it.
        gain = np.where((now <= lowest) | np.isneginf(now), np.inf, gain)
        return np.where(self._open[at], gain, -np.inf)

    def takes(self, level: float, priority: Floats) -> NDArray[np.bool_]:
        """Who is served at a level of :meth:`counts`."""
        return priority >= np.exp(min(level, 700.0))


def falling_roots(
    f: Callable[[Floats], tuple[Floats, Floats]],
    low: Floats,
    high: Floats,
    start: Floats,
    last_step: float,
) -> Floats:
    """Where falling functions are 0, each inside its bracket: Newton's steps, or halves.

    Args:
        f: values and derivatives, elementwise.
        low: where the functions are not negative.
        high: where they are not positive; an element with ``low == high`` is settled.
        start: first guesses.
        last_step: a Newton step this small (relative to 1 or the guess) is the last.
    """
    x, before = start.copy(), high - low
    todo = low < high
    with np.errstate(all="ignore"):
        for _ in range(_STEPS):
            if not todo.any():
                break
            value, slope = f(x)
            low = np.where(value > 0, x, low)
            high = np.where(value < 0, x, high)
            step = np.where(value == 0, 0.0, -value / slope)
            scale = np.maximum(1.0, np.abs(x))
            last = np.abs(step) <= last_step * scale
            # A step that is not much shorter than the one before converges too slowly.
            good = last | ((x + step > low) & (x + step < high) & (np.abs(step) < 0.5 * before))
            guess = np.where(good, x + step, 0.5 * (low + high))
            before = np.abs(guess - x)
            x = np.where(todo, guess, x)
            todo &= ~(last | (high - low <= _TIGHT * scale))
    return x

"""Allocations that no single level describes: groups that serve each other, penalised ranges."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ..errors import ParameterError
from .curves import Floats
from .levels import solved
from .problem import Allocation, Problem, evaluated, gain_per_cost, warn
from .welfare import Isoelastic, Maximin, Objective, ParityPenalised, Welfare

_DONE = 1e-13


def solve_general(problem: Problem, objective: Objective) -> Allocation:
    """The best allocation by sequential quadratic programming over shares of the budget.

    With transfer between groups the welfare is still concave, and what is found is the optimum
    for some hundred groups. A parity penalty is not concave: several starts, the best kept.
    """
    if not (problem.curves.arrays()[1] > 0).any():
        warn(
            "allocate: no group can gain from more samples (b = 0 everywhere); nothing is bought.",
            4,
        )
        return evaluated(problem, problem.arrays()[2], objective)
    starts = _starts(problem)
    if isinstance(objective, (Maximin, ParityPenalised)):
        found = [_by_bounds(problem, objective, start) for start in starts]
    else:
        welfare = cast(Welfare, objective)
        if np.isfinite(welfare.lowest):
            starts = [_positive(problem, welfare, starts)]
        found = [_smooth(problem, welfare, start) for start in starts]
    return max(
        (evaluated(problem, _counts(problem, share), objective) for share in found),
        key=lambda one: one.welfare,
    )


def _counts(problem: Problem, share: Floats) -> Floats:
    cost, _, held, limit = problem.arrays()
    share = np.maximum(share, 0.0)
    share = share / max(1.0, float(share.sum()))  # the search may overspend in the last digits
    return np.minimum(held + problem.budget * share / cost, limit)


def _most(problem: Problem) -> Floats:
    """Share of the budget that each group can take."""
    cost, _, held, limit = problem.arrays()
    return np.minimum(cost * (limit - held) / problem.budget, 1.0)


def _starts(problem: Problem) -> list[Floats]:
    """Equal spend, and the answers that ignore transfer; all inside the limits."""
    cost, _, held, _ = problem.arrays()
    alone = replace(problem, transfer=None)
    found = [np.full(len(cost), 1.0 / len(cost))]
    if alone.open_groups().any():
        for objective in (Isoelastic(eps=0.0), Maximin()):
            counts, _ = solved(alone, objective)
            found.append(cost * (counts - held) / problem.budget)
    # A start with nothing of some group has an infinite loss there: mix in a little of all.
    return [np.minimum(0.95 * share + 0.05 / len(cost), _most(problem)) for share in found]


def _positive(problem: Problem, welfare: Welfare, starts: list[Floats]) -> Floats:
    """A start at which every group's performance is high enough for the utility."""
    best = max(
        (_by_bounds(problem, Maximin(), start) for start in starts),
        key=lambda share: Maximin().value(*_performance(problem, share)),
    )
    performance, weights = _performance(problem, best)
    short = (weights > 0) & (performance <= welfare.lowest)
    if short.any():
        needed = problem.curves.needed(problem.best - welfare.lowest) * problem.arrays()[0]
        name = problem.curves.names[int(np.argmax(np.where(short, needed, -1.0)))]
        raise ParameterError(
            f"no allocation lifts group {name!r} to a performance above {welfare.lowest:g}; shift "
            "the metric (a larger best), or use the utilitarian objective or Maximin."
        )
    return best


def _performance(problem: Problem, share: Floats) -> tuple[Floats, Floats]:
    return problem.best - problem.loss(_counts(problem, share)), problem.arrays()[1]


def _jacobian(problem: Problem, share: Floats) -> Floats:
    """Derivative of performance by shares, ``(G, G)``."""
    cost, _, _, _ = problem.arrays()
    gain = problem.curves.gain(problem.effective(_counts(problem, share)))
    matrix = np.eye(len(cost)) if problem.transfer is None else np.asarray(problem.transfer)
    return gain[:, None] * matrix * (problem.budget / cost)


def _smooth(problem: Problem, welfare: Welfare, start: Floats) -> Floats:
    begin = welfare.value(*_performance(problem, start))
    scale = max(1e-12, abs(begin))

    def loss(share: Floats) -> float:
        value = welfare.value(*_performance(problem, share))
        return -value / scale if np.isfinite(value) else 1e6

    def slope(share: Floats) -> Floats:
        counts = _counts(problem, share)
        return -gain_per_cost(problem, counts, cast(Any, welfare)) * problem.budget / scale

    def left(share: Floats) -> float:
        return 1.0 - float(share.sum())

    def left_slope(share: Floats) -> Floats:
        return -np.ones(len(share))

    limits = [{"type": "ineq", "fun": left, "jac": left_slope}]
    return _minimised(loss, slope, start, _most(problem), limits)


def _by_bounds(problem: Problem, objective: Maximin | ParityPenalised, start: Floats) -> Floats:
    """Maximise a lower bound of all performances (less a multiple of an upper one)."""
    weights = problem.arrays()[1]
    counted, size = weights > 0, len(weights)
    kappa = objective.kappa if isinstance(objective, ParityPenalised) else 0.0
    mean = 1.0 if isinstance(objective, ParityPenalised) else 0.0
    low_price, high_price = (kappa, -kappa) if mean else (1.0, 0.0)

    def loss(x: Floats) -> float:
        performance, _ = _performance(problem, x[:size])
        value = mean * float(weights @ performance) + low_price * x[-2] + high_price * x[-1]
        return -value

    def slope(x: Floats) -> Floats:
        by_share = mean * (weights @ _jacobian(problem, x[:size]))
        return -np.concatenate([by_share, [low_price, high_price]])

    def room(x: Floats) -> Floats:
        performance = _performance(problem, x[:size])[0][counted]
        return np.concatenate([[1.0 - x[:size].sum()], performance - x[-2], x[-1] - performance])

    def room_slope(x: Floats) -> Floats:
        rows = _jacobian(problem, x[:size])[counted]
        k = len(rows)
        top = np.concatenate([-np.ones(size), [0.0, 0.0]])[None]
        below = np.hstack([rows, np.tile([-1.0, 0.0], (k, 1))])
        above = np.hstack([-rows, np.tile([0.0, 1.0], (k, 1))])
        return np.vstack([top, below, above])

    performance = _performance(problem, start)[0][counted]
    x = np.concatenate([start, [performance.min(), performance.max()]])
    upper = np.concatenate([_most(problem), [np.inf, np.inf]])
    limits = [{"type": "ineq", "fun": room, "jac": room_slope}]
    return _minimised(loss, slope, x, upper, limits, free=2)[:size]


def _minimised(
    loss: Any, slope: Any, start: Floats, upper: NDArray[Any], constraints: list[Any], free: int = 0
) -> Floats:
    from scipy.optimize import minimize

    bounds = [(0.0, u) for u in upper[: len(upper) - free]] + [(None, None)] * free
    found = minimize(
        loss,
        start,
        jac=slope,
        method="SLSQP",
        bounds=bounds,
        constraints=constraints,
        options={"maxiter": 1000, "ftol": _DONE},
    )
    return np.asarray(found.x, dtype=np.float64)

"""How the money of one round is spent: by the curves, by a heuristic, in whole samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import ParameterError
from .allocation import allocate
from .curves import Floats, PowerCurves
from .ledger import Point
from .plan import SamplingPlan
from .welfare import Concave, Isoelastic, Maximin, Objective


def room(plan: SamplingPlan, held: Floats) -> Floats:
    """Samples that can still be bought of each group, ``(G,)``."""
    return np.maximum(plan.array("held") + plan.array("available") - held, 0.0)


def wanted_money(
    plan: SamplingPlan, curves: PowerCurves, held: Floats, money: float
) -> tuple[Floats, str]:
    """Samples of each group that a round buys by the curves, as real numbers, and a note.

    Every group first gets its floor; the rest is spent so that the objective is as large as it
    can be with the floors in place, so that money which a group would get anyway counts.
    """
    cost, limit = plan.array("cost"), held + room(plan, held)
    floor = np.minimum(plan.explore_share * money / cost, limit - held)
    rest = money - float(cost @ floor)
    if rest <= 1e-9 * money:
        return floor, ""
    objective, note = _reachable(plan, curves, held + floor, limit, rest)
    found = allocate(
        curves,
        cost=cost,
        budget=rest,
        objective=objective,
        weights=plan.array("weights"),
        held=held + floor,
        limit=limit,
        best=plan.best,
        transfer=plan.transfer,
    )
    return found.counts - held, note


def _reachable(
    plan: SamplingPlan, curves: PowerCurves, held: Floats, limit: Floats, money: float
) -> tuple[Objective, str]:
    """The plan's objective, or maximin while a round cannot lift all performance high enough.

    Whether the objective can be met at all is judged by :func:`allocate` when that is so no
    longer; a group that no data lift high enough is refused at once.
    """
    objective = plan.objective
    if not isinstance(objective, (Isoelastic, Concave)) or not np.isfinite(objective.lowest):
        return objective, ""
    if plan.transfer is not None:
        return objective, ""
    counted = plan.array("weights") > 0
    needed = np.where(counted, curves.needed(plan.best - objective.lowest), 0.0)
    stuck = counted & ~(needed < limit)
    if stuck.any():
        group = int(np.flatnonzero(stuck)[0])
        raise ParameterError(
            f"by its curve, group {plan.groups[group]!r} never has a performance above "
            f"{objective.lowest:g} (best={plan.best:g}); shift the metric (a larger best), or use "
            "the utilitarian objective or Maximin."
        )
    if float(plan.array("cost") @ np.maximum(needed - held, 0.0)) < money:
        return objective, ""
    return Maximin(), "maximin in this round: it cannot lift every group's performance above 0"


def ranked_money(plan: SamplingPlan, held: Floats, points: Sequence[Point], money: float) -> Floats:
    """Samples of each group by a heuristic: all money to the first, what it cannot take on."""
    last = [[p for p in points if p.group == name][-2:] for name in plan.groups]
    loss = np.array([found[-1].loss for found in last])
    if plan.rule == "worst_group":
        rank = loss
    elif plan.rule == "slope":
        rank = _slopes(plan, last, loss)
    else:
        rounds = max(p.round for p in points)
        rank = np.random.default_rng([plan.seed, rounds]).permutation(len(held)).astype(np.float64)
    wanted, cost, most = np.zeros(len(held)), plan.array("cost"), room(plan, held)
    for group in np.argsort(-rank, kind="stable"):
        wanted[group] = min(money / cost[group], most[group])
        money -= float(wanted[group] * cost[group])
    return wanted


def _slopes(plan: SamplingPlan, last: Sequence[Sequence[Point]], loss: Floats) -> Floats:
    """Welfare a unit of money by the last two measurements of each group."""
    fall = np.zeros(len(last))
    for group, found in enumerate(last):
        if len(found) == 2 and found[1].n != found[0].n:
            fall[group] = (found[0].loss - found[1].loss) / (found[1].n - found[0].n)
    objective = plan.objective
    if isinstance(objective, (Isoelastic, Concave)):
        fall = fall * np.exp(objective.log_slope(np.maximum(plan.best - loss, 1e-9)))
        fall = fall * plan.array("weights")
    return fall / plan.array("cost")


def rounded(plan: SamplingPlan, held: Floats, wanted: Floats, money: float) -> Floats:
    """Whole samples that the money buys: down, then up where most was lost by that."""
    cost, most = plan.array("cost"), np.floor(room(plan, held) + 1e-9)
    counts = np.minimum(np.floor(wanted + 1e-9), most)
    left = money - float(cost @ counts)
    for group in np.argsort(counts - wanted, kind="stable"):
        up = wanted[group] > counts[group] + 1e-9 and counts[group] < most[group]
        if up and cost[group] <= left * (1 + 1e-12):
            counts[group] += 1
            left -= cost[group]
    return counts

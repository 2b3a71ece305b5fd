"""What each strategy would leave every group with, before anything is bought."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import ParameterError
from .allocation import allocate
from .curves import Floats, PowerCurves
from .fitting import CurveFit
from .heuristics import HEURISTICS
from .plan import SamplingPlan
from .pool import inclusion_weights
from .problem import Allocation, Problem, evaluated, gain_per_cost, plain
from .rounds import room
from .sampling import AdaptiveSampler
from .welfare import Isoelastic, Maximin, Objective

_BESIDE = ("equal_count", "equal_spend", "proportional")


def forecast(
    plan: SamplingPlan,
    curves: PowerCurves,
    *,
    held: Floats | None = None,
    budget: float | None = None,
    fits: Mapping[str, CurveFit] | None = None,
) -> dict[str, Any]:
    """Predicted loss of every group under the plan's objective and under other strategies.

    Use it before anything is bought: maximin may pour all money into a group that data hardly
    help, and a large group's loss may double for it. Read it with the intervals of the next
    gain: a curve that is a guess forecasts a guess.

    Args:
        plan: groups, prices, budget and objective.
        curves: of all groups; guesses, or fitted.
        held: ``(G,)`` samples by now; those of the plan if not given.
        budget: money that is left; that of the plan if not given.
        fits: where the curves were fitted, for the intervals.

    Returns:
        Plain JSON: ``groups`` (now) and ``strategies`` (afterwards), the plan's own first.

    Raises:
        ParameterError: if the plan's objective cannot be met.

    Example:
        >>> plan = SamplingPlan(groups=("a", "b"), cost=1, budget=800, objective=Maximin())
        >>> found = forecast(plan, PowerCurves(0.1, [1.0, 2.0], 0.5, names=("a", "b")))
        >>> [(s["name"], round(s["worst_loss"], 3)) for s in found["strategies"]][:2]
        [('maximin', 0.179), ('utilitarian', 0.19)]
    """
    counts = plan.array("held") if held is None else held
    money = plan.budget if budget is None else budget
    problem = _problem(plan, curves, counts, money)
    strategies = [_by_objective(plan, problem, plan.objective)]
    for objective in (Isoelastic(eps=0.0), Isoelastic(eps=1.0), Maximin()):
        if objective == plan.objective:
            continue
        try:
            strategies.append(_by_objective(plan, problem, objective))
        except ParameterError as error:
            strategies.append({"name": objective_title(objective), "impossible": str(error)})
    strategies += [_by_rule(plan, problem, name) for name in _BESIDE]
    return {
        "plan": plan.to_json(),
        "budget": money,
        "groups": group_records(plan, curves, counts, fits or {}),
        "strategies": strategies,
    }


def group_records(
    plan: SamplingPlan, curves: PowerCurves, counts: Floats, fits: Mapping[str, CurveFit]
) -> list[dict[str, Any]]:
    """Each group as it stands: samples, loss, what the next sample and unit of money gain."""
    problem = _problem(plan, curves, counts, plan.budget)
    worth = problem.effective(counts)
    loss, gain = curves.loss(worth), curves.gain(worth)
    welfare = gain_per_cost(problem, counts, plan.objective)
    parameters = zip(*curves.arrays(), strict=True)
    records: list[dict[str, Any]] = [
        {
            "name": name,
            "n": float(counts[i]),
            "cost": float(plan.array("cost")[i]),
            "population": float(plan.array("population")[i]),
            "weight": float(plan.array("weights")[i]),
            "loss": plain(loss[i]),
            "gain": {"value": plain(gain[i]), "low": None, "high": None},
            "welfare_gain_per_cost": plain(welfare[i]),
            "curve": {"a": float(a), "b": float(b), "gamma": float(c), "flag": "", "points": []},
        }
        for i, (name, (a, b, c)) in enumerate(zip(plan.groups, parameters, strict=True))
    ]
    for i, record in enumerate(records):
        fit = fits.get(record["name"])
        if fit is not None and worth[i] > 0:
            record["gain"] = {k: plain(v) for k, v in fit.gain(float(worth[i]))._asdict().items()}
            record["curve"] = fit.to_json()
    return records


def collection_record(sampler: AdaptiveSampler) -> dict[str, Any]:
    """A collection so far, for a report: allocation over rounds, curves, next gains, weights.

    Returns:
        Plain JSON: ``plan``, ``spent``, ``left``, ``totals``, ``rounds`` (what each bought, what
        was predicted and what was obtained), ``groups`` as in :func:`forecast` with fitted
        curves, their points and the next gain with its interval (empty before the pilot was
        told), and ``inclusion_weights`` of a row of each group.

    Example:
        >>> sampler = AdaptiveSampler(SamplingPlan(groups=("a", "b"), cost=1, budget=300))
        >>> record = collection_record(sampler)
        >>> record["left"], record["totals"], record["groups"]
        (300.0, {'a': 0, 'b': 0}, [])
    """
    plan, totals = sampler.plan, sampler.totals
    counts = np.array([totals[name] for name in plan.groups], dtype=np.float64)
    fits = sampler.fits()
    groups: list[dict[str, Any]] = []
    if len(fits) == len(plan.groups):
        groups = group_records(plan, sampler.curves(), counts, fits)
    weights = [0.0] * len(counts)
    if counts.any():
        weights = inclusion_weights(counts, plan.array("population")).tolist()
    return {
        "method": "adaptive_sampling",
        "plan": plan.to_json(),
        "spent": sampler.spent,
        "left": float(plan.budget - sampler.spent),
        "totals": totals,
        "rounds": sampler.trace,
        "groups": groups,
        "inclusion_weights": dict(zip(plan.groups, weights, strict=True)),
    }


def objective_title(objective: Objective) -> str:
    """Its name with its parameters in words, such as ``isoelastic (eps 2)``."""
    name, *rest = objective.to_json().items()
    values = ", ".join(f"{key} {value:g}" if key != "utility" else value for key, value in rest)
    return f"{name[1]} ({values})" if values else str(name[1])


def _problem(plan: SamplingPlan, curves: PowerCurves, counts: Floats, money: float) -> Problem:
    return Problem(
        curves,
        plan.array("cost"),
        money,
        plan.array("weights"),
        counts,
        counts + room(plan, counts),
        plan.best,
        plan.transfer,
    )


def _by_objective(plan: SamplingPlan, problem: Problem, objective: Objective) -> dict[str, Any]:
    cost, weights, held, limit = problem.arrays()
    found = allocate(
        problem.curves,
        cost=cost,
        budget=problem.budget,
        objective=objective,
        weights=weights,
        held=held,
        limit=limit,
        best=problem.best,
        transfer=problem.transfer,
    )
    return _record(plan, objective_title(objective), found)


def _by_rule(plan: SamplingPlan, problem: Problem, name: str) -> dict[str, Any]:
    cost, _, held, limit = problem.arrays()
    bought = HEURISTICS[name](cost, problem.budget, plan.array("population"))
    counts = np.minimum(held + bought, limit)
    return _record(plan, name.replace("_", " "), evaluated(problem, counts, Isoelastic(eps=0.0)))


def _record(plan: SamplingPlan, title: str, found: Allocation) -> dict[str, Any]:
    shares = plan.array("population")
    mean = float(shares @ np.where(shares > 0, found.loss, 0.0))
    return {"name": title, **found.to_json(), "population_loss": plain(mean)}

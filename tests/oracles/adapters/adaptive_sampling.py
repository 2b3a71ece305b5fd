"""Vectors of adaptive sampling: exact allocations, marginal analysis, curve fits, heuristics."""

from itertools import islice

import numpy as np

from adapters import adapter
from pluralign.collect import (
    Isoelastic,
    Maximin,
    PowerCurves,
    allocate,
    fit_curve,
    heuristic,
)
from pluralign.collect.problem import Problem, evaluated
from pluralign.collect.whole import Walk

OUTPUTS = {
    "n",
    "weighted_loss",
    "multiplier",
    "spent",
    "marginal_per_cost",
    "kkt",
    "performance",
    "loss",
}


def each(value, like):
    return np.broadcast_to(np.asarray(value, dtype=np.float64), np.shape(like)).copy()


def floor(inputs):
    given = inputs.get("n_min", inputs.get("n0"))
    return each(0.0 if given is None or isinstance(given, str) else given, inputs["b"])


def setting(inputs):
    """Curves, prices, weights and floor; all of one length."""
    size = max(np.size(inputs[name]) for name in ("b", "gamma", "cost"))
    wide = {**inputs, "b": each(inputs["b"], np.zeros(size))}
    curves = PowerCurves(inputs.get("a", 0.0), wide["b"], inputs["gamma"])
    return curves, each(inputs["cost"], wide["b"]), inputs.get("weight"), floor(wide)


def allocated(inputs, objective):
    """The budget of the vectors is the total cost: floor samples are part of it."""
    curves, cost, weights, held = setting(inputs)
    best = inputs.get("best_possible", 1.0)
    budget = float(inputs["budget"] - cost @ held)
    if budget <= 1e-12 * inputs["budget"]:
        problem = Problem(curves, cost, inputs["budget"], weights, held, np.inf, best)
        found = evaluated(problem, held, objective)
    else:
        found = allocate(
            curves,
            cost=cost,
            budget=budget,
            objective=objective,
            weights=weights,
            held=held,
            best=best,
        )
    return {
        "n": found.counts,
        "weighted_loss": found.weighted_loss,
        "multiplier": found.multiplier,
        "spent": float(cost @ found.counts),
        "marginal_per_cost": found.gain,
        "kkt": found.gain,
        "performance": found.performance,
        "loss": found.loss,
        "worst": found.loss.max(),
    }


@adapter(inputs={"budget", "cost", "weight", "b", "gamma"}, expected_any=OUTPUTS)
def welfare(inputs):
    eps = inputs.get("eps", 0.0)
    return allocated(inputs, Maximin() if eps > 50 else Isoelastic(eps=eps))


@adapter(inputs={"budget", "cost", "b", "gamma"}, expected_any={"n", "loss", "worst", "spent"})
def maximin(inputs):
    return allocated(inputs, Maximin())


@adapter(
    inputs={"budget", "cost", "b", "gamma", "n_start"},
    expected_any={"n", "loss", "first_ten_choices", "weighted_loss", "spent", "choices"},
)
def greedy(inputs):
    curves, cost, weights, _ = setting(inputs)
    start = each(inputs["n_start"], cost)
    problem = Problem(curves, cost, inputs["budget"], weights, start)
    eps = inputs.get("eps", 0.0)
    walk = Walk(problem, Isoelastic(eps=eps), inputs.get("batch", 1))
    choices = list(walk.steps())
    found = evaluated(problem, walk.counts, Isoelastic(eps=eps))
    return {
        "n": walk.counts,
        "loss": found.weighted_loss,
        "weighted_loss": found.weighted_loss,
        "spent": found.spent,
        "choices": choices,
        "first_ten_choices": list(islice(choices, 10)),
    }


@adapter(inputs={"n", "loss"}, expected_any={"a", "b", "gamma"})
def fit(inputs):
    bounds = inputs.get("gamma_bounds", (0.05, 2.0))
    found = fit_curve(inputs["n"], inputs["loss"], inputs.get("se"), gamma_bounds=tuple(bounds))
    return {"a": found.a, "b": found.b, "gamma": found.gamma}


@adapter(
    inputs={"budget", "cost"},
    expected_any={
        "equal_count",
        "equal_spend",
        "proportional",
        "proportional_count",
        "cheapest",
        "majority",
    },
)
def rules_of_thumb(inputs):
    cost = each(inputs["cost"], inputs.get("population", inputs["cost"]))

    def bought(name):
        return heuristic(
            name, cost=cost, budget=inputs["budget"], population=inputs.get("population")
        )

    return {
        "equal_count": bought("equal_count"),
        "equal_spend": bought("equal_spend"),
        "proportional": bought("proportional"),
        "proportional_count": bought("proportional"),
        "cheapest": bought("cheapest"),
        "majority": bought("majority"),
    }

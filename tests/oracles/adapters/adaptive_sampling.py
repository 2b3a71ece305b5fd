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


def samples(given, like):
    """Numbers of samples; words such as "none active" stand for none."""
    return each(0.0 if given is None or isinstance(given, str) else given, like)


def setting(inputs):
    """Curves, prices, weights and the samples that a group has in any case; all of one length."""
    names = ("a", "b", "gamma", "cost", "weight", "n_min", "n0")
    given = [inputs.get(name) for name in names]
    size = max(np.size(value) for value in given if not isinstance(value, (str, type(None))))
    like = np.zeros(size)
    curves = PowerCurves(inputs.get("a") or 0.0, each(inputs["b"], like), inputs["gamma"])
    held = np.maximum(samples(inputs.get("n_min"), like), samples(inputs.get("n0"), like))
    return curves, each(inputs["cost"], like), inputs.get("weight"), held


def allocated(inputs, objective):
    """A budget beside ``n_min`` is the total cost, floors included; beside ``n0`` it is new."""
    curves, cost, weights, held = setting(inputs)
    best = inputs.get("best_possible", 1.0)
    budget = float(inputs["budget"] - cost @ samples(inputs.get("n_min"), cost))
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
        "welfare": found.welfare,
    }


@adapter(inputs={"budget", "cost", "weight", "b", "gamma"}, expected_any=OUTPUTS)
def welfare(inputs):
    eps = float(inputs.get("eps", 0.0))  # "inf" too
    return allocated(inputs, Maximin() if eps > 50 else Isoelastic(eps=eps))


@adapter(inputs={"budget", "cost", "b", "gamma", "eps"}, expected_any=OUTPUTS)
def welfare_of_equal_weights(inputs):
    return welfare(inputs)


@adapter(
    inputs={"budget", "cost", "b", "gamma"},
    expected_any={"weighted_loss", "multiplier", "marginal_per_cost", "kkt"},
)
def utilitarian(inputs):
    return welfare(inputs)


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
    eps = float(inputs.get("eps", 0.0))
    walk = Walk(problem, Isoelastic(eps=eps), inputs.get("batch", 1))
    choices = list(walk.steps())
    found = evaluated(problem, walk.counts, Isoelastic(eps=eps))
    return {
        "n": walk.counts,
        "loss": found.weighted_loss,
        "worst": found.loss.max(),
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
        "cheapest_only",
        "majority",
        "majority_only",
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
        **dict.fromkeys(("cheapest", "cheapest_only"), bought("cheapest")),
        **dict.fromkeys(("majority", "majority_only"), bought("majority")),
    }

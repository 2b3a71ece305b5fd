"""Vectors of packages: concepts by enumeration, equal shares, measures, the continuous split."""

import numpy as np

from adapters import adapter
from pluralign.decide import PackageProblem, equal_shares, measures, solve
from pluralign.decide.enumeration import RANKINGS, all_designs
from pluralign.decide.measuring import gini, satisfaction
from pluralign.decide.search import Aim
from pluralign.decide.solving import Solver

CONCEPTS = {
    **{name: name for name in RANKINGS},
    "kalai_smorodinsky_leximin": "kalai_smorodinsky",
    "regret": "min_max_regret",
    "negotiate": "negotiate",
}
OPTIONAL = ("base", "disagreement", "weights", "conflicts", "requires")
OTHER_NAMES = {"requirements": "requires", "weight": "weights"}


def problem_of(inputs):
    named = {OTHER_NAMES.get(name, name): value for name, value in inputs.items()}
    given = {name: named[name] for name in OPTIONAL if named.get(name) is not None}
    return PackageProblem(inputs["values"], inputs["cost"], inputs["budget"], **given)


@adapter(
    inputs={"values", "cost", "budget"},
    expected_any={"n_feasible", "n_individually_rational", "ideal", *CONCEPTS},
)
def packages(inputs):
    problem = problem_of(inputs)
    designs = all_designs(problem)
    rational = designs.rational()
    found = {
        "n_feasible": len(designs),
        "n_individually_rational": len(rational),
        "ideal": rational.utilities.max(axis=0) if len(rational) else None,
    }
    for name, concept in CONCEPTS.items():
        if not len(rational):
            found[name] = None
            continue
        decision = solve(problem, concept)
        found[name] = {
            "package": decision.package,
            "utilities": decision.utilities,
            "cost": decision.cost,
        }
    return found


@adapter(
    inputs={"values", "cost", "budget"},
    expected_any={"selected_in_order", "selected", "rho", "money_left", "spent"},
)
def shares(inputs):
    problem = problem_of(inputs)
    decision = equal_shares(problem, completion=inputs.get("completion") or "none")
    purses = np.full(problem.shape[0], problem.budget / problem.shape[0])
    events = [event for event in decision.trace if "rho" in event]
    return {
        "selected_in_order": [event["item"] for event in decision.trace],
        "selected": decision.package,
        "rho": [event["rho"] for event in events],
        "money_left": events[-1]["money_left"] if events else purses,
        "spent": decision.cost,
    }


@adapter(inputs={"utilities"}, expected_any={"gini", "total", "worst", "p20_linear"})
def measured(inputs):
    utilities, q = inputs["utilities"], inputs.get("percentile", 20)
    share = inputs.get("satisfaction", [1.0] * len(utilities))
    # A single group is no problem to settle, but it has measures: count it twice.
    twice = [*utilities, *utilities] if len(utilities) == 1 else utilities
    shares = [*share, *share] if len(share) == 1 else share
    problem = PackageProblem(np.ones((len(twice), 1)), [1], 1)
    found = measures(problem, twice)
    # The percentile of given satisfactions, through designs whose extremes make them so.
    ends = [np.zeros(len(shares)), np.ones(len(shares))]
    several = PackageProblem(np.ones((len(shares), 1)), [1], 1)
    given = measures(several, shares, compared=ends, percentile=q)
    return {
        "gini": found["gini"],
        "total": found["total"] * len(utilities) / len(twice),
        "worst": found["worst"]["value"],
        "p20_linear": given["percentile"]["value"],
    }


@adapter(inputs={"equal", "one_owner"}, expected_any={"gini_equal", "gini_one_owner"})
def inequality(inputs):
    return {f"gini_{name}": gini(values) for name, values in inputs.items()}


@adapter(inputs={"group_utilities_over_designs"}, expected_any={"normalised"})
def normalised(inputs):
    return {"normalised": satisfaction(np.transpose(inputs["group_utilities_over_designs"])).T}


@adapter(
    inputs={"pie", "disagreement"},
    expected_any={"nash_x", "kalai_x", "egalitarian_x", "utilitarian_x"},
)
def split(inputs):
    """The pie cut so finely that the best cut is known, refined where it lies."""
    pie = inputs["pie"]
    one, other = inputs["disagreement"]
    problem = PackageProblem([[pie], [np.sqrt(pie)]], cost=[1], budget=1, disagreement=[one, other])
    # Of the rational cuts: who gets the most that leaves the other at the point of disagreement.
    least, most = max(one, 0.0), pie - max(other, 0.0) ** 2
    ideal = np.array([most, np.sqrt(pie - least)])
    aims = {name: Solver(problem).aim(name) for name in ("nash", "egalitarian", "utilitarian")}
    aims["kalai"] = Aim("least", problem.point, ideal - problem.point, np.ones(2))

    def best(aim):
        # A maximum is flat: only long numbers tell where it lies to nine digits.
        low, high = np.longdouble(least), np.longdouble(most)
        for _ in range(14):
            x = np.linspace(low, high, 101, dtype=np.longdouble)
            row = int(np.argmax(aim.value(np.stack([x, np.sqrt(pie - x)], axis=1))))
            low, high = x[max(row - 1, 0)], x[min(row + 1, 100)]
        return float(x[row])

    return {f"{name}_x": best(aim) for name, aim in aims.items()}


@adapter(
    inputs={"before", "after"}, expected_any={"total_gain", "worst_gain", "p20_gain", "gini_change"}
)
def gained(inputs):
    """Differences of two records of measures."""
    before, after = inputs["before"], inputs["after"]
    found = {}
    for name in before.keys() & after.keys():
        gain = after[name] - before[name]
        found[f"{name}_gain"] = found[f"{name}_change"] = gain
        found[f"{name}_gain_pct"] = 100 * gain / before[name] if before[name] else None
    return found

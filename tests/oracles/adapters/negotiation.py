"""Vectors of packages: concepts by enumeration, equal shares, measures, the continuous split."""

import numpy as np

from adapters import adapter
from pluralign.decide import PackageProblem, equal_shares, measures, solve
from pluralign.decide.enumeration import RANKINGS, all_designs
from pluralign.decide.measuring import gini, satisfaction
from pluralign.decide.solving import Solver

CONCEPTS = {
    **{name: name for name in RANKINGS},
    "kalai_smorodinsky_leximin": "kalai_smorodinsky",
    "regret": "min_max_regret",
}
OPTIONAL = ("base", "disagreement", "weights", "conflicts", "requires")


def problem_of(inputs):
    given = {name: inputs[name] for name in OPTIONAL if inputs.get(name) is not None}
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
        "ideal": rational.utilities.max(axis=0),
    }
    for name, concept in CONCEPTS.items():
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
    decision = equal_shares(problem_of(inputs))
    return {
        "selected_in_order": [event["item"] for event in decision.trace],
        "selected": decision.package,
        "rho": [event["rho"] for event in decision.trace],
        "money_left": decision.trace[-1]["money_left"] if decision.trace else None,
        "spent": decision.cost,
    }


@adapter(inputs={"utilities"}, expected_any={"gini", "total", "worst", "p20_linear"})
def measured(inputs):
    utilities = inputs["utilities"]
    problem = PackageProblem(np.ones((len(utilities), 1)), [1], 1)
    found = measures(problem, utilities)
    share = inputs.get("satisfaction", found["satisfaction"])
    # The percentile of given satisfactions, through designs whose extremes make them so.
    given = measures(
        problem, share, compared=[np.zeros(len(share)), np.ones(len(share))], percentile=20
    )
    return {
        "gini": found["gini"],
        "total": found["total"],
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
    problem = PackageProblem(
        [[pie], [np.sqrt(pie)]], cost=[1], budget=1, disagreement=inputs["disagreement"]
    )

    def best(concept):
        # A maximum is flat: only long numbers tell where it lies to nine digits.
        aim = Solver(problem).aim(concept)
        low, high = np.longdouble(0), np.longdouble(pie)
        for _ in range(14):
            x = np.linspace(low, high, 101, dtype=np.longdouble)
            row = int(np.argmax(aim.value(np.stack([x, np.sqrt(pie - x)], axis=1))))
            low, high = x[max(row - 1, 0)], x[min(row + 1, 100)]
        return float(x[row])

    return {
        "nash_x": best("nash"),
        "kalai_x": best("kalai_smorodinsky"),
        "egalitarian_x": best("egalitarian"),
        "utilitarian_x": best("utilitarian"),
    }


@adapter(inputs={"before", "after"}, expected_any={"total_gain", "worst_gain", "gini_change"})
def gained(inputs):
    """Differences of two records of measures."""
    before, after = inputs["before"], inputs["after"]
    gain = {name: after[name] - before[name] for name in before}
    return {
        "total_gain": gain["total"],
        "total_gain_pct": 100 * gain["total"] / before["total"],
        "worst_gain": gain["worst"],
        "worst_gain_pct": 100 * gain["worst"] / before["worst"],
        "p20_gain": gain["p20"],
        "gini_change": gain["gini"],
    }

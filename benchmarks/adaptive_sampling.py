"""How long an exact allocation takes, against a general solver on the same problem.

Random groups with their own curves, prices and weights. ``allocate`` is exact to rounding;
the general solver is scipy's trust-constr with gradients and Hessian, tried up to ``--most``
groups. CPU seconds of one thread, interleaved, medians of rounds; welfare and
money left of both are shown, since a fast wrong answer is worth nothing. The bar: 100,000
groups under one second for each objective.

    python benchmarks/adaptive_sampling.py [--repeats 3] [--most 300] [--json]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

import numpy as np
from harness import Measured, interleaved, machine, now, quiet, since, spread, table

SIZES = (10, 100, 300, 10_000, 100_000)
BAR = 1.0


class Case:
    """One problem, and what each way of solving it found."""

    def __init__(self, groups: int, title: str, objective: Any) -> None:
        from pluralign.collect import PowerCurves

        rng = np.random.default_rng(groups)
        self.groups, self.title, self.objective = groups, title, objective
        self.curves = PowerCurves(
            rng.uniform(0, 0.2, groups), rng.uniform(0.2, 1, groups), rng.uniform(0.2, 1, groups)
        )
        self.cost, self.weights = rng.uniform(1, 5, groups), rng.uniform(0.1, 1, groups)
        self.weights /= self.weights.sum()
        self.held, self.budget = np.full(groups, 5.0), 200.0 * groups
        self.found: dict[str, np.ndarray] = {}

    def exact(self) -> Measured:
        """By the multiplier of the budget."""
        from pluralign.collect import allocate

        begun = now()
        found = allocate(
            self.curves,
            cost=self.cost,
            budget=self.budget,
            objective=self.objective,
            weights=self.weights,
            held=self.held,
        )
        taken = since(begun)
        self.found["exact"] = found.counts
        return taken

    def general(self) -> Measured:
        """By scipy, from equal spend, variables in units of it."""
        from scipy.optimize import Bounds, LinearConstraint, minimize
        from scipy.sparse import diags

        unit = self.budget / (self.groups * self.cost)
        gamma = self.curves.arrays()[2]

        def parts(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            n = self.held + unit * x
            fall = self.curves.gain(n) * unit
            return 1 - self.curves.loss(n), fall, -fall * (gamma + 1) / n * unit

        def value(x: np.ndarray) -> tuple[float, np.ndarray]:
            performance, slope, _ = parts(x)
            log = bool(self.objective.eps)
            worth = np.log(performance) if log else performance
            return -float(self.weights @ worth), -self.weights * slope / (performance if log else 1)

        def curvature(x: np.ndarray) -> Any:
            performance, slope, bend = parts(x)
            if self.objective.eps:
                bend = bend / performance - (slope / performance) ** 2
            return diags(-self.weights * bend)

        begun = now()
        found = minimize(
            value,
            np.ones(self.groups),
            jac=True,
            hess=curvature,
            method="trust-constr",
            bounds=Bounds(0, np.inf),
            constraints=LinearConstraint(np.ones((1, self.groups)), self.groups, self.groups),
            options={"gtol": 1e-10, "xtol": 1e-12, "maxiter": 1000},
        )
        taken = since(begun)
        self.found["general"] = self.held + unit * found.x
        return taken

    def row(self, variant: str, seconds: list[float]) -> dict[str, Any]:
        """Time, welfare and money left of one way."""
        counts = self.found[variant]
        performance = 1 - self.curves.loss(counts)
        left = self.budget - float(self.cost @ (counts - self.held))
        welfare = self.objective.value(performance, self.weights)
        head = {"objective": self.title, "groups": self.groups, "variant": variant}
        taken = spread(seconds)
        told = {"seconds": taken["s"], "most": taken["most"], "welfare": f"{welfare:.10f}"}
        return {**head, **told, "left": f"{abs(left):.0e}"}


def cases(most: int) -> tuple[list[Case], dict[Any, Callable[[], Measured]]]:
    """Problems of all sizes and objectives, and the calls that solve them."""
    from pluralign.collect import Isoelastic, Maximin

    goals = (("utilitarian", Isoelastic(eps=0.0)), ("isoelastic 1", Isoelastic(eps=1.0)))
    made, calls = [], {}
    for title, objective in (*goals, ("maximin", Maximin())):
        for groups in SIZES:
            case = Case(groups, title, objective)
            made.append(case)
            calls[case, "exact"] = case.exact
            if groups <= most and title != "maximin":
                calls[case, "general"] = case.general
    return made, calls


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--most", type=int, default=300, help="groups for the general solver")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    quiet()
    _, calls = cases(args.most)
    rows = [case.row(way, times) for (case, way), times in interleaved(calls, args.repeats).items()]
    largest = [row for row in rows if row["groups"] == max(SIZES)]
    met = all(row["seconds"] < BAR for row in largest)
    if args.json:
        found = {"bench": "adaptive_sampling", "machine": machine(), "results": rows, "met": met}
        print(json.dumps(found))
        return
    table("Seconds to allocate a budget", rows, text=("objective", "variant"))
    verdict = "met" if met else "missed"
    print(f"{max(SIZES):,} groups under {BAR:g} s for each objective: {verdict}")


if __name__ == "__main__":
    main()

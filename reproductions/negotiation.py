"""Negotiation where the truth is known, and on the ratings of Montreal's streets.

``--scale toy``: 200 seeded instances (4 groups, 8 items); fails (exit code 1) unless every
bargaining ends at the Kalai-Smorodinsky utilities, searching equals enumeration, and the means
lie within 2 % of the recorded ones. ``--scale small``: also packages from
``../shared/data/street_review``: items raise one criterion by a point on one street, values are a
subgroup's distance to the top of the scale; reported as found. ``--json`` prints one object.
"""

import argparse
import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from pluralign.decide import Decision, PackageProblem, compare, measures, negotiate, solve
from pluralign.decide.enumeration import RANKINGS
from pluralign.decide.measuring import gini

DATA = Path(__file__).parents[2] / "shared" / "data" / "street_review"
CRITERIA = ("practicality", "inclusivity", "aesthetics", "accessibility")
COST = {"practicality": 2.0, "inclusivity": 1.0, "aesthetics": 1.5, "accessibility": 3.0}


def instance(seed: int) -> PackageProblem:
    """Values uniform, kept with probability .6; costs 1 to 4; budget 10."""
    draw = np.random.default_rng(seed)
    values = draw.random((4, 8)) * (draw.random((4, 8)) < 0.6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return PackageProblem(values, draw.integers(1, 5, 8), 10)


def greedy(problem: PackageProblem) -> tuple[int, ...]:
    """The single-score baseline: mean value per cost, best first, while it fits."""
    worth = problem.value_table.mean(axis=0) / problem.prices
    package: list[int] = []
    for j in np.argsort(-worth, kind="stable"):
        if problem.allows([*package, int(j)]):
            package.append(int(j))
    return tuple(package)


def toy(count: int = 200) -> dict[str, Any]:
    """Means over the instances, and what must hold in every one of them."""
    rows: dict[str, list[tuple[float, float, float]]] = {}
    rounds, same, searched, below, ratios = [], 0, 0, 0, []
    for seed in range(count):
        problem = instance(seed)
        found = {name: solve(problem, name) for name in RANKINGS}
        found["negotiate"] = negotiate(problem)
        utilities = {name: np.array(one.utilities) for name, one in found.items()}
        utilities["single score"] = problem.utilities(greedy(problem))
        for name, one in utilities.items():
            rows.setdefault(name, []).append((one.sum(), one.min(), gini(one)))
        end = next(e for e in found["negotiate"].trace if e["event"] == "agreement")
        rounds.append(end["round"])
        same += np.allclose(utilities["negotiate"], utilities["kalai_smorodinsky"])
        below += gini(utilities["negotiate"]) <= gini(utilities["utilitarian"]) + 1e-12
        ratios.append(utilities["negotiate"].sum() / utilities["nash"].sum())
        searched += all(
            solve(problem, name, exact_limit=1).package == found[name].package for name in RANKINGS
        )
    means = {name: [float(x) for x in np.mean(values, axis=0)] for name, values in rows.items()}
    return {
        "n": count,
        "means": means,
        "agreement_round": float(np.mean(rounds)),
        "equal_to_kalai_smorodinsky": int(same),
        "search_equals_enumeration": int(searched),
        "gini_not_above_utilitarian": below / count,
        "total_of_nash": float(np.mean(ratios)),
    }


def streets() -> PackageProblem | None:
    """Six subgroups; 20 streets x 4 criteria; a tenth of what all items cost together."""
    path = DATA / "street_group_means.parquet"
    if not path.exists():
        return None
    import pandas as pd

    table = pd.read_parquet(path)
    table.columns = [str(name).strip() for name in table.columns]
    means, groups = subgroup_means(table)
    items = [f"{street} {c}" for street in range(means.shape[1]) for c in CRITERIA]
    # A point more counts the more, the further a group is from the top of the scale.
    values = ((4 - means) / 3).reshape(len(groups), -1)
    cost = np.tile([COST[c] for c in CRITERIA], means.shape[1])
    start = means.mean(axis=(1, 2))
    return PackageProblem(
        values / len(items), cost, float(cost.sum() / 10), base=start, groups=groups, items=items
    )


def subgroup_means(table: Any) -> tuple[np.ndarray, list[str]]:
    """``(6, 20, 4)`` ratings by subgroup from columns that end in ``_criterion`` or begin so."""
    columns = {c: [n for n in table.columns if c in n.lower()] for c in CRITERIA}
    groups: list[str] = []
    for name in columns[CRITERIA[0]]:
        group = name.lower().replace(CRITERIA[0], "").strip(" _-")
        if group and "group" not in group:
            groups.append(group)
    picked = [
        [
            next(n for n in columns[c] if n.lower().replace(c, "").strip(" _-") == g)
            for c in CRITERIA
        ]
        for g in groups
    ]
    return np.stack([table[names].to_numpy(dtype=np.float64) for names in picked]), groups


def small() -> dict[str, Any] | None:
    """The four measures of the pilot, before and after, for every concept."""
    problem = streets()
    if problem is None:
        return None
    decisions = compare(problem, time_limit=20.0)
    designs = [problem.start, *(np.array(one.utilities) for one in decisions)]

    def row(utilities: Any, one: Decision | None) -> dict[str, Any]:
        found = measures(problem, utilities, compared=designs)
        return {
            "total": found["total"],
            "worst": found["worst"],
            "p20": found["percentile"]["value"],
            "gini": found["gini"],
            "cost": 0.0 if one is None else one.cost,
            "items": 0 if one is None else len(one.package),
            "optimal": one is None or one.optimal,
            "gap": None if one is None else one.gap,
        }

    return {
        "groups": list(problem.group_names),
        "budget": problem.budget,
        "before": row(problem.start, None),
        **{one.concept: row(one.utilities, one) for one in decisions},
    }


RECORDED = {
    "utilitarian": (7.17, 1.02, 0.188),
    "nash": (7.09, 1.12, 0.158),
    "kalai_smorodinsky": (6.88, 1.11, 0.151),
    "leximin": (6.64, 1.20, 0.128),
    "negotiate": (6.88, 1.108, 0.151),
    "single score": (7.08, 0.98, 0.191),
}


def failures(found: dict[str, Any]) -> list[str]:
    """What did not hold."""
    n = found["n"]
    wrong = [
        f"{key}: {found[key]} of {n}"
        for key in ("equal_to_kalai_smorodinsky", "search_equals_enumeration")
        if found[key] != n
    ]
    means = found["means"]
    if not means["leximin"][1] >= max(row[1] for row in means.values()) - 1e-12:
        wrong.append("leximin has not the best worst-off group")
    if not means["utilitarian"][0] >= max(row[0] for row in means.values()) - 1e-12:
        wrong.append("utilitarian has not the largest total")
    for name, recorded in RECORDED.items():
        if not np.allclose(means[name], recorded, rtol=0.02):
            wrong.append(f"{name}: {means[name]}, recorded {recorded}")
    return wrong


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", choices=("toy", "small"), default="toy")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found: dict[str, Any] = {"toy": toy()}
    if options.scale == "small":
        found["small"] = small()
    wrong = failures(found["toy"])
    if options.json:
        json.dump({**found, "failures": wrong}, sys.stdout, indent=1)
        return bool(wrong)
    console = Console()
    table = Table("concept", "total", "worst", "Gini", title="200 instances, means")
    for name, row in found["toy"]["means"].items():
        table.add_row(name, *(f"{value:.3f}" for value in row))
    console.print(table)
    console.print({k: v for k, v in found["toy"].items() if k != "means"})
    if options.scale == "small":
        if found["small"] is None:
            console.print("the street ratings are not there: ../shared/data/street_review")
        else:
            console.print(found["small"])
    for line in wrong:
        console.print(f"failed: {line}", style="red")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())

"""Leximin and Nash on 6 groups: 50 items in a second, 200 in twenty, proved or with their gap.

Beside them: leximin by OR-Tools CP-SAT in as many stages as groups, if it is installed (one
worker, 20 s), and equal shares against pabutools. Instances: values uniform, kept with probability
.6, costs 1 to 4, budget three tenths of what everything costs.

    python benchmarks/negotiation.py [--sizes 50 200] [--seeds 3] [--json]
"""

import argparse
import json
import sys
import time
from importlib.util import find_spec
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from pluralign.decide import PackageProblem, equal_shares, solve
from pluralign.provenance import machine, versions

LIMIT = {50: 1.0, 200: 20.0}
PEER_SECONDS = 20.0
SHARP = 10**6  # CP-SAT knows whole numbers: utilities to the sixth decimal


def instance(items: int, seed: int, groups: int = 6) -> PackageProblem:
    """One random problem."""
    draw = np.random.default_rng(seed)
    values = draw.random((groups, items)) * (draw.random((groups, items)) < 0.6)
    cost = draw.integers(1, 5, items).astype(np.float64)
    return PackageProblem(values, cost, float(int(0.3 * cost.sum())))


def timed(call: Any) -> tuple[Any, float, float]:
    """Result, wall-clock and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    found = call()
    return found, time.perf_counter() - wall, time.process_time() - cpu


def by_cp_sat(problem: PackageProblem, seconds: float) -> tuple[list[float], bool]:
    """Sorted utilities of CP-SAT's leximin: the sum of the k worst is made large, for each k."""
    from ortools.sat.python import cp_model

    model = cp_model.CpModel()
    x = [model.new_bool_var(f"x{j}") for j in range(problem.shape[1])]
    model.add(
        sum(int(c) * v for c, v in zip(problem.prices, x, strict=True)) <= int(problem.budget)
    )
    gains = [
        sum(round(SHARP * v) * one for v, one in zip(row, x, strict=True))
        for row in problem.value_table
    ]
    most = int(SHARP * problem.scale) + 1
    end, proved = time.monotonic() + seconds, True
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    found: list[int] = []
    for k in range(1, len(gains) + 1):
        level = model.new_int_var(0, most, f"level{k}")
        short = [model.new_int_var(0, most, f"short{k}.{g}") for g in range(len(gains))]
        for gain, missing in zip(gains, short, strict=True):
            model.add(missing >= level - gain)
        theta = k * level - sum(short)
        model.maximize(theta)
        solver.parameters.max_time_in_seconds = max(0.01, end - time.monotonic())
        status = solver.solve(model)
        if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
            proved = False
            break
        proved &= status == cp_model.OPTIMAL
        found = [solver.value(one) for one in x]
        model.add(theta >= int(solver.objective_value))
        model.clear_hints()
        for one, value in zip(x, found, strict=True):
            model.add_hint(one, value)
    package = [j for j, one in enumerate(found) if one]
    return sorted(problem.utilities(package).tolist()), proved


def by_pabutools(problem: PackageProblem) -> tuple[int, ...]:
    """Winners of equal shares, with floating-point numbers."""
    import pabutools.fractions as fractions
    from pabutools.election import (
        Additive_Cardinal_Sat,
        CardinalBallot,
        CardinalProfile,
        Instance,
        Project,
    )
    from pabutools.rules import method_of_equal_shares

    fractions.FRACTION = "float"
    projects = [Project(str(j), float(c)) for j, c in enumerate(problem.prices)]
    ballots = [
        CardinalBallot({p: float(v) for p, v in zip(projects, row, strict=True) if v > 0})
        for row in problem.value_table
    ]
    won = method_of_equal_shares(
        Instance(projects, budget_limit=problem.budget),
        CardinalProfile(ballots),
        sat_class=Additive_Cardinal_Sat,
    )
    return tuple(sorted(int(p.name) for p in won))


def measure(items: int, seed: int) -> list[dict[str, Any]]:
    """All rows of one instance."""
    problem = instance(items, seed)
    limit = 0.6 * LIMIT.get(items, 20.0)
    rows: list[dict[str, Any]] = []
    levels: list[float] = []
    for concept in ("leximin", "nash"):
        found, wall, cpu = timed(lambda c=concept: solve(problem, c, time_limit=limit))
        rows.append(
            {
                "what": concept,
                "wall": wall,
                "cpu": cpu,
                "worst": min(found.utilities),
                "optimal": found.optimal,
                "gap": found.gap,
            }
        )
        if concept == "leximin":
            levels = sorted(found.utilities)
    if find_spec("ortools"):
        (theirs, proved), wall, cpu = timed(lambda: by_cp_sat(problem, PEER_SECONDS))
        rows.append(
            {
                "what": "leximin, CP-SAT",
                "wall": wall,
                "cpu": cpu,
                "worst": theirs[0],
                "optimal": proved,
                "gap": None,
                "same": bool(np.allclose(theirs, levels, atol=1e-5)),
            }
        )
    ours, wall, cpu = timed(lambda: equal_shares(problem))
    rows.append({"what": "equal shares", "wall": wall, "cpu": cpu})
    if find_spec("pabutools"):
        theirs, wall, cpu = timed(lambda: by_pabutools(problem))
        same = theirs == ours.package
        rows.append({"what": "equal shares, pabutools", "wall": wall, "cpu": cpu, "same": same})
    return [{"items": items, "seed": seed, **row} for row in rows]


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[50, 200])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    solve(instance(30, 0), "leximin", exact_limit=1)  # imports of the solver
    rows = [
        row
        for items in options.sizes
        for seed in range(options.seeds)
        for row in measure(items, seed)
    ]
    missing = [name for name in ("ortools", "pabutools") if not find_spec(name)]
    if options.json:
        about = {"machine": machine(), "versions": versions(), "missing": missing}
        json.dump({**about, "rows": rows}, sys.stdout, indent=1)
        return 0
    table = Table("items", "seed", "what", "wall s", "CPU s", "worst", "proved", "gap", "same")
    for row in rows:
        gap = row.get("gap")
        table.add_row(
            str(row["items"]), str(row["seed"]), row["what"], f"{row['wall']:.3f}",
            f"{row['cpu']:.3f}", f"{row['worst']:.4f}" if "worst" in row else "",
            str(row.get("optimal", "")), "" if gap is None else f"{gap:.2e}",
            str(row.get("same", "")),
        )  # fmt: skip
    Console().print(table)
    for name in missing:
        print(f"{name} is not installed: no peer figure.")
    return 0


if __name__ == "__main__":
    sys.exit(main())

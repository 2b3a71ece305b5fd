"""Why an item is in or out, what a little more money would buy, and which limits bind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .concepts import solve
from .decision import Decision, floats
from .enumeration import EXACT_LIMIT, RANKINGS
from .problem import PackageProblem
from .solving import Solver


def explain(
    problem: PackageProblem,
    decision: Decision,
    *,
    extra: Sequence[float] = (0.05, 0.1, 0.25),
    exact_limit: int = EXACT_LIMIT,
    time_limit: float = 5.0,
) -> dict[str, Any]:
    """Answers to what people ask of a package; every one by solving a changed problem.

    Use it beside any decision. A negotiation is explained by the Kalai-Smorodinsky package,
    where it ends with equal concessions; equal shares by their own prices.

    Args:
        problem: that was decided.
        decision: one of its decisions.
        extra: additional money as shares of the budget; the money that the cheapest item
            left out would need is always added.
        exact_limit: as of :func:`solve`; so is ``time_limit``, for each question.
        time_limit: seconds.

    Returns:
        ``items``, ``budgets`` and ``binding``, as told in :mod:`pluralign.decide.decision`.

    Example:
        >>> problem = PackageProblem([[3, 0, 1], [0, 2, 1]], cost=[2, 2, 1], budget=4)
        >>> found = explain(problem, solve(problem, "leximin"))
        >>> found["items"][2]["reason"]
        'it does not fit: 1 more money would be needed beside the package'
        >>> found["budgets"][-1]["added"], found["binding"][0]["constraint"]
        (['item 2'], 'budget')
    """
    concept = decision.concept if decision.concept != "negotiate" else "kalai_smorodinsky"
    options = {"exact_limit": exact_limit, "time_limit": time_limit}

    def again(changed: PackageProblem) -> Decision:
        return solve(changed, concept, **options)  # pyright: ignore[reportArgumentType]

    def forced(item: int, chosen: bool) -> Decision | None:
        if concept not in RANKINGS:
            return None
        solver = Solver(
            problem, exact_limit=exact_limit, time_limit=time_limit, forced={item: chosen}
        )
        found = solver.decide(concept)
        return None if found.status == "disagreement" else found

    # What stands for a negotiation may differ from it; changes are those of what stands for it.
    usual = decision if concept == decision.concept else again(problem)
    return {
        "items": [_item(problem, decision, j, forced) for j in range(problem.shape[1])],
        "budgets": _budgets(problem, usual, extra, again),
        "binding": _binding(problem, usual, again),
    }


def _item(
    problem: PackageProblem,
    decision: Decision,
    item: int,
    forced: Callable[[int, bool], Decision | None],
) -> dict[str, Any]:
    held = item in decision.package
    other = forced(item, not held)
    return {
        "item": problem.item_names[item],
        "cost": float(problem.prices[item]),
        "chosen": held,
        "reason": _reason(problem, decision, item, other),
        "utilities_otherwise": None if other is None else list(other.utilities),
    }


def _reason(problem: PackageProblem, decision: Decision, item: int, other: Decision | None) -> str:
    held, names = item in decision.package, problem.item_names
    if not held:
        for i, j in problem.excluded:
            rival = j if item == i else i if item == j else None
            if rival is not None and rival in decision.package:
                return f"it conflicts with {names[rival]}, which is in"
        missing = [names[j] for i, j in problem.needed if i == item and j not in decision.package]
        if missing:
            return f"it requires {', '.join(missing)}, which is out"
        if (problem.value_table[:, item] <= 0).all():
            return "it helps no group"
        if problem.prices[item] > problem.limit:
            return "it costs more than the budget"
    verb = "Without" if held else "With"
    if other is None and held:
        return "no package without it leaves every group at its disagreement point"
    if other is not None:
        change = np.array(other.utilities) - np.array(decision.utilities)
        worst = int(np.argmin(other.utilities))
        told = f"{verb.lower()} it the worst-off group would be {problem.group_names[worst]} "
        told += f"with {other.utilities[worst]:.4g} instead of {decision.worst()[1]:.4g}, "
        told += f"the total {change.sum():+.4g}"
        if held:
            return told
    else:
        told = ""
    short = problem.prices[item] - (problem.budget - decision.cost)
    if short > 0:
        return f"it does not fit: {short:g} more money would be needed beside the package"
    return told or "those whom it helps have not enough money left"


def _budgets(
    problem: PackageProblem,
    decision: Decision,
    extra: Sequence[float],
    again: Callable[[PackageProblem], Decision],
) -> list[dict[str, Any]]:
    left = problem.budget - decision.cost
    missing = [
        float(problem.prices[j] - left)
        for j in range(problem.shape[1])
        if j not in decision.package and problem.prices[j] > left
    ]
    amounts = {share * problem.budget for share in extra} | ({min(missing)} if missing else set())
    found: list[dict[str, Any]] = []
    for amount in sorted(amounts):
        other = again(problem.changed(budget=problem.budget + amount))
        found.append(
            {
                "budget": problem.budget + amount,
                "extra": float(amount),
                "added": [name for name in other.choice if name not in decision.choice],
                "dropped": [name for name in decision.choice if name not in other.choice],
                "utilities": list(other.utilities),
                **_gain(decision, other),
            }
        )
    return found


def _binding(
    problem: PackageProblem, decision: Decision, again: Callable[[PackageProblem], Decision]
) -> list[dict[str, Any]]:
    """Limits whose relaxing changes what the groups get."""
    names = problem.item_names
    relaxed: list[tuple[str, str, Mapping[str, Any]]] = [
        ("budget", "budget", {"budget": problem.budget * 1.25})
    ]
    for kind, pairs, word in (
        ("conflicts", problem.excluded, "conflicts with"),
        ("requires", problem.needed, "requires"),
    ):
        for pair in pairs:
            text = f"{names[pair[0]]} {word} {names[pair[1]]}"
            relaxed.append((text, kind, {kind: [one for one in pairs if one != pair]}))
    if decision.concept in ("utilitarian", "leximin"):
        for group, name in enumerate(problem.group_names):
            point = problem.point.copy()
            point[group] -= 10 * problem.scale
            text = f"{name} must not be below its disagreement point"
            relaxed.append((text, "disagreement", {"disagreement": point}))
    found: list[dict[str, Any]] = []
    for text, kind, change in relaxed:
        other = again(problem.changed(**change))
        if not np.allclose(other.utilities, decision.utilities, atol=problem.tolerance):
            found.append({"constraint": text, "kind": kind, **_gain(decision, other)})
    return found


def _gain(before: Decision, after: Decision) -> dict[str, float]:
    one, other = floats(np.array(before.utilities)), floats(np.array(after.utilities))
    return {"total": sum(other) - sum(one), "worst": min(other) - min(one)}

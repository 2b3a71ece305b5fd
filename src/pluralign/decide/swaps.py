"""Swaps at the table: the best for a group, one read from a text, and what harms nobody."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from .enumeration import Designs
from .problem import ROUNDING, PackageProblem


def best_swap(
    problem: PackageProblem, package: Sequence[int], group: int
) -> tuple[int | None, int] | None:
    """The swap that gives a group most, and of equal ones harms the worst-off least."""
    held = set(package)
    outside = np.array([j for j in range(problem.shape[1]) if j not in held], dtype=np.int64)
    drops: list[int | None] = [None, *package]
    lost = np.zeros((len(drops), problem.shape[0]))
    saved = np.zeros(len(drops))
    lost[1:], saved[1:] = problem.value_table[:, list(package)].T, problem.prices[list(package)]
    change = problem.value_table[:, outside].T[None] - lost[:, None]
    cost = problem.spent(package) + problem.prices[outside][None] - saved[:, None]
    gain = np.where(cost <= problem.limit, change[..., group], -np.inf)
    worst = (problem.utilities(package) + change).min(axis=2)
    for flat in np.lexsort((-worst.ravel().round(12), -gain.ravel().round(12))):
        if gain.flat[flat] <= problem.tolerance:
            return None
        row, column = np.unravel_index(flat, gain.shape)
        swap = drops[int(row)], int(outside[column])
        if problem.allows(swapped(package, *swap)):
            return swap
    return None


def harmless(problem: PackageProblem, package: Sequence[int]) -> int | None:
    """What still fits, harms nobody and gives the worst-off most for its cost."""
    utilities = problem.utilities(package)
    best, best_key = None, (-np.inf, -np.inf)
    for j in sorted(set(range(problem.shape[1])) - set(package)):
        values = problem.value_table[:, j]
        if (values < 0).any() or not values.any():
            continue
        if not problem.allows(swapped(package, None, j)):
            continue
        raised = float((utilities + values).min() - utilities.min())
        key = raised / problem.prices[j], float(values.sum()) / problem.prices[j]
        if key > best_key:
            best, best_key = j, key
    return best


def better(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Whether the first number is larger, or equal and the second larger."""
    if abs(one[0] - other[0]) > ROUNDING:
        return one[0] > other[0]
    return one[1] > other[1] + ROUNDING


def best_of(designs: Designs, group: int) -> tuple[int, ...]:
    """A group's best of some packages; of equals the cheapest, then the earliest."""
    mine = designs.utilities[:, group]
    rows = np.flatnonzero(mine >= mine.max() - designs.problem.tolerance)
    order = np.lexsort((-designs.masks[rows], designs.cost[rows].round(9)))
    return designs.package(int(rows[order[0]]))


def read_swap(
    text: str, problem: PackageProblem, package: Sequence[int]
) -> tuple[int | None, int] | str:
    """The swap that a text ends with as (drop, add), or what is wrong with it."""
    found = _last_object(text)
    if found is None or "add" not in found:
        return "there is no JSON object with 'add' in it"
    numbers: dict[str, int | None] = {}
    for key in ("drop", "add"):
        name = found.get(key)
        if name is None and key == "drop":
            numbers[key] = None
        elif name in problem.item_names:
            numbers[key] = problem.item_names.index(name)
        else:
            return f"{key}: there is no item {name!r}"
    drop, add = numbers["drop"], numbers["add"]
    if add is None or add in package:
        return f"add: {found['add']!r} is in the package already"
    if drop is not None and drop not in package:
        return f"drop: {found['drop']!r} is not in the package"
    after = swapped(package, drop, add)
    if problem.spent(after) > problem.limit:
        return f"it would cost {problem.spent(after):g} of {problem.budget:g}"
    if not problem.allows(after):
        return "it breaks a conflict or a requirement"
    return drop, add


def swapped(package: Sequence[int], drop: int | None, add: int | None) -> tuple[int, ...]:
    """A package after a swap, ascending."""
    return tuple(sorted({*package, *(() if add is None else (add,))} - {drop}))


def _last_object(text: str) -> dict[str, Any] | None:
    """The last JSON object in a text that may hold anything."""
    for start in [i for i, sign in enumerate(text) if sign == "{"][::-1]:
        try:
            found, _ = json.JSONDecoder().raw_decode(text[start:])
        except ValueError:
            continue
        return found
    return None

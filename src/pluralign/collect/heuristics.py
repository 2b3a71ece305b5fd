"""Rules of thumb to compare with: how planners spend a budget without looking at any curve."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike

from ..errors import ParameterError
from ..rules import nearest, shown
from .curves import Floats
from .problem import check_budget, costs, shares


def heuristic(
    name: str, *, cost: ArrayLike, budget: float, population: ArrayLike | None = None
) -> Floats:
    """Samples of each group that a rule of thumb buys, as real numbers.

    Use it to see what an allocation is worth beside what people do. ``proportional`` is a
    statement about a population, not an optimisation, and serves small groups badly.

    Args:
        name: ``"equal_count"``, ``"equal_spend"``, ``"proportional"``, ``"cheapest"`` (all
            money to the lowest price) or ``"majority"`` (to the largest group).
        cost: price of a sample, > 0; ``(G,)``, or one number with ``population`` given.
        budget: money, > 0.
        population: sizes or shares of the groups; equal if not given.

    Raises:
        ParameterError: for an unknown name or a value out of range.

    Example:
        >>> heuristic("equal_spend", cost=[1, 2, 3], budget=900).tolist()
        [300.0, 150.0, 100.0]

    References:
        Cai et al., 2022, arXiv 2202.01327, compare with equal and proportional sampling.
    """
    if name not in HEURISTICS:
        raise ParameterError(
            f"heuristic is unknown: {shown(name)}; {nearest(str(name), HEURISTICS)}"
        )
    check_budget(budget)
    groups = max(np.size(cost), 1 if population is None else np.size(population))
    names: Sequence[str] = tuple(map(str, range(groups)))
    return HEURISTICS[name](costs(cost, names), budget, shares(population, names, "population"))


def _all_to(group: int, cost: Floats, budget: float) -> Floats:
    found = np.zeros_like(cost)
    found[group] = budget / cost[group]
    return found


Rule = Callable[[Floats, float, Floats], Floats]

HEURISTICS: MappingProxyType[str, Rule] = MappingProxyType(
    {
        "equal_count": lambda cost, budget, _: np.full_like(cost, budget / cost.sum()),
        "equal_spend": lambda cost, budget, _: budget / (len(cost) * cost),
        "proportional": lambda cost, budget, share: budget * share / float(cost @ share),
        "cheapest": lambda cost, budget, _: _all_to(int(np.argmin(cost)), cost, budget),
        "majority": lambda cost, budget, share: _all_to(int(np.argmax(share)), cost, budget),
    }
)
"""Each by name: prices, budget and population shares to samples."""

"""The method of equal shares: every group holds the same money and pays for what it values."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np

from ..errors import ParameterError
from ..rules import nearest
from .decision import Decision, decided, floats
from .fields import Floats
from .problem import ROUNDING, PackageProblem

Completion = Literal["none", "utilitarian", "add_one"]


def equal_shares(problem: PackageProblem, *, completion: Completion = "none") -> Decision:
    r"""Buy with equal purses what costs its supporters least per unit of value.

    Use it where each group shall decide over an equal part of the money. Not where a group's
    losses count: it sees no negative values, no base and no disagreement point.

    An item that empties all its supporters' purses to the last cent is a matter of rounding.

    Each of G groups holds B/G. Again and again the item with the least :math:`\rho` such that
    :math:`\sum_g \min(left_g, \rho V_{gj}) = c_j` is bought and paid so; of equal ones the
    cheaper, then the earlier. An item in conflict with a bought one cannot be bought; one that
    requires others waits for them.

    Args:
        problem: what to buy.
        completion: money that is left: ``none`` keeps it; ``utilitarian`` buys by total value
            per cost; ``add_one`` raises all purses by the budget's hundredth part until the
            purchase would cost more than the budget, and takes the last that did not.

    Returns:
        The decision; ``trace`` has each purchase with its price per value and the money left.

    Raises:
        ParameterError: for an unknown completion.

    Example:
        >>> problem = PackageProblem([[3, 0, 1], [0, 2, 1]], cost=[2, 2, 1], budget=4)
        >>> decision = equal_shares(problem)
        >>> [event["item"] for event in decision.trace], decision.choice
        ([2], ('item 2',))

    Differs from the paper: not of it; the established rule, for comparison.

    References:
        Peters, Pierczynski and Skowron, 2021, Proportional participatory budgeting with
        additive utilities, NeurIPS.
    """
    known = get_args(Completion)
    if completion not in known:
        raise ParameterError(
            f"completion {completion!r} is unknown; {nearest(str(completion), known)}"
        )
    bought, events = _purchases(problem, problem.budget)
    if completion == "add_one":
        bought, events = _with_larger_purses(problem, bought, events)
    if completion == "utilitarian":
        _spend_rest(problem, bought, events)
    return decided(problem, "equal_shares", bought, trace=tuple(events), gap=None)


def _purchases(problem: PackageProblem, money: float) -> tuple[list[int], list[dict[str, Any]]]:
    """What purses of ``money / G`` buy, in order, and the events."""
    left = np.full(problem.shape[0], money / problem.shape[0])
    values, bought, events = np.maximum(problem.value_table, 0.0), list[int](), list[Any]()
    least = np.zeros(problem.shape[1])
    while True:
        # Purses only shrink, so a price per value never falls: an old one is a lower bound.
        best, best_rho = None, np.inf
        for j in sorted(_open(problem, bought), key=lambda j: (least[j], problem.prices[j], j)):
            if least[j] > best_rho * (1 + ROUNDING):
                break
            least[j] = rho = _price_per_value(left, values[:, j], problem.prices[j])
            if rho < best_rho * (1 - ROUNDING) or (
                best is not None
                and rho <= best_rho * (1 + ROUNDING)
                and (problem.prices[j], j) < (problem.prices[best], best)
            ):
                best, best_rho = j, rho
        if best is None:
            return bought, events
        left -= np.minimum(left, best_rho * values[:, best])
        bought.append(best)
        events.append(
            {
                "event": "purchase",
                "item": best,
                "rho": float(best_rho),
                "money_left": list(floats(left)),
            }
        )


def _open(problem: PackageProblem, bought: list[int]) -> list[int]:
    """Items that may be bought next, whatever they cost."""
    held = set(bought)
    closed = held.copy()
    for i, j in problem.excluded:
        closed |= {j} if i in held else {i} if j in held else set()
    closed |= {i for i, j in problem.needed if j not in held}
    return [j for j in range(problem.shape[1]) if j not in closed]


def _price_per_value(left: Floats, values: Floats, price: float) -> float:
    """The least rho at which the supporters' purses pay the price; infinite if they cannot."""
    held = np.flatnonzero(values > 0)
    left, values = left[held], values[held]
    order = np.argsort(left / values, kind="stable")
    left, values = left[order], values[order]
    # Those before a supporter are emptied; the others pay by value.
    emptied = np.concatenate([[0.0], np.cumsum(left)[:-1]])
    rho = (price - emptied) / np.cumsum(values[::-1])[::-1]
    fits = np.flatnonzero(rho * values <= left)
    return float(rho[fits[0]]) if len(fits) else np.inf


def _with_larger_purses(
    problem: PackageProblem, bought: list[int], events: list[dict[str, Any]]
) -> tuple[list[int], list[dict[str, Any]]]:
    """The purchases of the largest purses that do not overspend."""
    for step in range(1, 100 * problem.shape[0] + 1):
        tried, log = _purchases(problem, problem.budget * (1 + step / 100))
        if problem.spent(tried) > problem.limit:
            break
        bought, events = tried, log
        if len(tried) == problem.shape[1]:
            break
    return bought, events


def _spend_rest(problem: PackageProblem, bought: list[int], events: list[dict[str, Any]]) -> None:
    """Add what has most value for all groups per cost, while it fits."""
    worth = np.maximum(problem.value_table, 0.0).sum(axis=0) / problem.prices
    while True:
        room = problem.limit - problem.spent(bought)
        fitting = [j for j in _open(problem, bought) if problem.prices[j] <= room and worth[j] > 0]
        if not fitting:
            return
        best = min(fitting, key=lambda j: (-worth[j], problem.prices[j], j))
        bought.append(best)
        events.append({"event": "completion", "item": best})

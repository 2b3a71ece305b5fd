"""A budget, prices and curves, checked once: what every way of allocating starts from."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import DataQualityWarning, ParameterError
from ..rules import shown
from .curves import Floats, PowerCurves, as_floats, refuse
from .welfare import Concave, Isoelastic, Objective


@final
@dataclass(frozen=True, eq=False)
class Problem:
    """How much of each group to buy, as numbers that fit together.

    Args:
        curves: loss of each of G groups by its number of samples.
        cost: price of a sample, > 0; ``(G,)`` or one number.
        budget: money to spend on top of what is held, > 0, in the currency of ``cost``.
        weights: welfare weights, >= 0, not all 0; normalised; equal if not given.
        held: samples that each group has already, >= 0.
        limit: samples that each group can have at most; unlimited if not given.
        best: performance is ``best - loss``.
        transfer: ``(G, G)``, what a sample of one group (column) is worth to another (row), in
            [0, 1] with 1 on the diagonal; the identity if not given.

    Raises:
        ParameterError: naming the parameter, the group and the value.
    """

    curves: PowerCurves
    cost: ArrayLike
    budget: float
    weights: ArrayLike | None = None
    held: ArrayLike = 0.0
    limit: ArrayLike = np.inf
    best: float = 1.0
    transfer: ArrayLike | None = None

    def __post_init__(self) -> None:
        names = self.curves.names
        freeze = object.__setattr__
        freeze(self, "budget", check_budget(self.budget))
        best: Any = self.best
        if isinstance(best, str) or not np.isfinite(best):
            raise ParameterError(f"best must be finite; got {best!r}.")
        freeze(self, "cost", costs(self.cost, names))
        freeze(self, "weights", shares(self.weights, names, "weights"))
        held = one_each(self.held, names, "held")
        refuse("held", held, np.isfinite(held) & (held >= 0), "finite and >= 0", names)
        limit = one_each(self.limit, names, "limit")
        refuse("limit", limit, limit >= held, "at least what is held", names)
        freeze(self, "held", held)
        freeze(self, "limit", limit)
        if self.transfer is not None:
            freeze(self, "transfer", transfers(self.transfer, len(names)))

    def arrays(self) -> tuple[Floats, Floats, Floats, Floats]:
        """``cost``, ``weights``, ``held`` and ``limit``, each ``(G,)``."""
        return (
            np.asarray(self.cost),
            np.asarray(self.weights),
            np.asarray(self.held),
            np.asarray(self.limit),
        )

    def effective(self, counts: Floats) -> Floats:
        """Samples of one's own that all groups' samples are worth to each group."""
        return counts if self.transfer is None else np.asarray(self.transfer) @ counts

    def loss(self, counts: Floats) -> Floats:
        """Predicted loss of each group."""
        return self.curves.loss(self.effective(counts))

    def open_groups(self) -> NDArray[np.bool_]:
        """Groups in which money can do any good: b > 0, a weight, and samples to be had."""
        _, weights, held, limit = self.arrays()
        return (self.curves.arrays()[1] > 0) & (weights > 0) & (limit > held)


@final
@dataclass(frozen=True, eq=False)
class Allocation:
    """How many samples of each group, and what is predicted of it.

    Attributes:
        counts: ``(G,)`` samples after buying, held ones included.
        bought: ``(G,)`` samples to buy.
        spent: what they cost.
        loss: ``(G,)`` predicted loss.
        performance: ``(G,)``, ``best - loss``.
        gain: ``(G,)`` welfare that the next unit of money adds in each group; of maximin the
            fall of the group's own loss.
        multiplier: welfare that the next unit of money adds where it does most; NaN unless an
            exact solver found the allocation.
        weighted_loss: weighted mean of the losses.
        welfare: value of the objective.
        names: of the groups.
    """

    counts: Floats
    bought: Floats
    spent: float
    loss: Floats
    performance: Floats
    gain: Floats
    multiplier: float
    weighted_loss: float
    welfare: float
    names: tuple[str, ...]

    @property
    def worst(self) -> str:
        """Name of the group with the largest predicted loss."""
        return self.names[int(np.argmax(self.loss))]

    def to_json(self) -> dict[str, Any]:
        """Plain numbers; infinite and undefined ones are null."""
        rows = zip(self.names, self.counts, self.bought, self.loss, self.gain, strict=True)
        return {
            "spent": self.spent,
            "weighted_loss": plain(self.weighted_loss),
            "worst_group": self.worst,
            "worst_loss": plain(self.loss.max()),
            "welfare": plain(self.welfare),
            "multiplier": plain(self.multiplier),
            "groups": [
                {
                    "name": name,
                    "n": plain(n),
                    "buy": plain(buy),
                    "loss": plain(loss),
                    "gain": plain(gain),
                }
                for name, n, buy, loss, gain in rows
            ],
        }


def evaluated(
    problem: Problem, counts: Floats, objective: Objective, multiplier: float = np.nan
) -> Allocation:
    """What an allocation costs and what is predicted of it."""
    cost, weights, held, _ = problem.arrays()
    loss = problem.loss(counts)
    performance = problem.best - loss
    bought = counts - held
    counted = weights > 0
    return Allocation(
        counts=counts,
        bought=bought,
        spent=float(cost @ bought),
        loss=loss,
        performance=performance,
        gain=gain_per_cost(problem, counts, objective),
        multiplier=multiplier,
        weighted_loss=float(weights[counted] @ loss[counted]),
        welfare=objective.value(performance, weights),
        names=tuple(problem.curves.names),
    )


def gain_per_cost(problem: Problem, counts: Floats, objective: Objective) -> Floats:
    """Welfare that the next unit of money adds in each group, ``(G,)``."""
    cost, weights, _, _ = problem.arrays()
    gain = problem.curves.gain(problem.effective(counts))
    if not isinstance(objective, (Isoelastic, Concave)):
        return gain / cost
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        worth = weights * gain * np.exp(objective.log_slope(problem.best - problem.loss(counts)))
    worth = np.where(weights * gain == 0, 0.0, worth)
    return (worth if problem.transfer is None else worth @ np.asarray(problem.transfer)) / cost


def check_budget(budget: Any) -> float:
    """The budget as a Python number; refused if it is not positive and finite."""
    if isinstance(budget, np.generic):
        budget = budget.item()
    if isinstance(budget, bool) or not isinstance(budget, (int, float)) or not np.isfinite(budget):
        raise ParameterError(f"budget must be a finite number > 0; got {budget!r}.")
    if budget <= 0:
        raise ParameterError(f"budget must be > 0; got {budget}: there is nothing to plan.")
    return budget


def check_gamma_bounds(bounds: Any) -> tuple[float, float]:
    """Bounds of an exponent, ``(low, high)``; refused if they are not in order."""
    found = as_floats(bounds, "gamma_bounds")
    if found.shape != (2,) or not 0 < found[0] < found[1] < np.inf:
        raise ParameterError(f"gamma_bounds must be 0 < low < high; got {shown(bounds)}.")
    return float(found[0]), float(found[1])


def costs(cost: ArrayLike, names: Sequence[str]) -> Floats:
    """Prices, one for each group."""
    found = one_each(cost, names, "cost")
    refuse("cost", found, np.isfinite(found) & (found > 0), "finite and > 0", names)
    return found


def shares(values: ArrayLike | None, names: Sequence[str], name: str) -> Floats:
    """Non-negative numbers that sum to 1; equal ones if none are given."""
    if values is None:
        return np.full(len(names), 1.0 / len(names))
    found = one_each(values, names, name)
    refuse(name, found, np.isfinite(found) & (found >= 0), "finite and >= 0", names)
    if not found.any():
        raise ParameterError(f"{name} must not all be 0; no group would count.")
    return found / found.sum()


def transfers(values: ArrayLike, groups: int) -> Floats:
    """What a sample of one group is worth to another, ``(G, G)``."""
    found = as_floats(values, "transfer")
    if found.shape != (groups, groups):
        raise ParameterError(
            f"transfer must have shape ({groups}, {groups}), a row for each group; got "
            f"{found.shape}."
        )
    if not (np.isfinite(found) & (found >= 0) & (found <= 1)).all():
        raise ParameterError(
            f"transfer must lie in [0, 1]; got {found.min():g} to {found.max():g}."
        )
    if not (np.diag(found) == 1).all():
        raise ParameterError("transfer must be 1 on the diagonal: a sample serves its own group.")
    return found


def one_each(values: ArrayLike, names: Sequence[str], name: str) -> Floats:
    """One number for each group; a single number serves all."""
    found = as_floats(values, name)
    if found.ndim == 0:
        return np.full(len(names), float(found))
    if found.shape != (len(names),):
        raise ParameterError(
            f"{name} must have one value for each of {len(names)} groups; got shape {found.shape}."
        )
    return found.copy()


def warn(message: str, stacklevel: int = 3) -> None:
    """A warning about data or a plan that can be used but promises little."""
    warnings.warn(message, DataQualityWarning, stacklevel=stacklevel + 1)


def plain(value: float) -> float | None:
    """A float for JSON; null if it is not finite."""
    return float(value) if np.isfinite(value) else None

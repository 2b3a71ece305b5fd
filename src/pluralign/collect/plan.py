"""A sampling plan: groups, prices, a budget, and what is wanted of them together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, cast, final

import numpy as np
from numpy.typing import ArrayLike

from ..errors import ParameterError
from ..rules import Kind, OneOf, Within, check, nearest, shown
from .curves import Floats, as_floats, refuse
from .problem import check_budget, check_gamma_bounds, costs, one_each, shares, transfers, warn
from .welfare import Isoelastic, Objective, check_objective

PerGroup = Mapping[str, float] | Sequence[float] | Floats | float
Rule = Literal["curves", "worst_group", "slope", "random"]

_LEAST_PILOT = 4
_SMALL_ROUND = 0.05
_EXPLORE = 0.05


@final
@dataclass(frozen=True, kw_only=True)
class SamplingPlan:
    """What may be bought, at which price, and for which end.

    Use it for :class:`AdaptiveSampler` and for forecasts. Groups must be known before buying,
    each sample has one of them, and quality must be measurable for each group on held-out data.

    Args:
        groups: G different names.
        cost: price of a sample, > 0: one number, G numbers, or by name; likewise below.
        budget: money on top of what is held, > 0; the pilot is part of it.
        objective: what is wanted of all groups together.
        population: sizes or shares of the groups; equal if not given.
        weights: welfare weights; the population if not given.
        held: samples that are there already.
        available: samples that can be bought; unlimited if not given.
        best: performance is ``best - loss``; larger than every loss for ``eps > 0``.
        pilot: samples of each group before anything is fitted, >= 4; by default the larger of
            20 and 1 % of an equal share of the budget.
        rounds: after the pilot, >= 1.
        explore_floor: least share of a round's money for each group, [0, 1/G]; by default the
            smaller of 0.05 and half of 1/G. 0 trusts the curves alone.
        gamma_bounds: of the fitted curves.
        transfer: ``(G, G)``, what a sample of one group is worth to another; none by default.
        rule: ``"curves"``, or a heuristic to compare with: ``"worst_group"`` buys where the
            last measured loss is largest, ``"slope"`` where the last two measurements fell
            fastest for their price, ``"random"`` from one group drawn for each round.
        seed: of ``"random"``.

    Raises:
        ParameterError: for a value out of range, naming the group.

    Example:
        >>> plan = SamplingPlan(groups=("a", "b"), cost={"a": 1, "b": 2}, budget=900)
        >>> plan.pilot_counts().tolist(), plan.explore_share
        ([20.0, 20.0], 0.05)

    Differs from the paper: ours; the paper's batch sizes and rounds were not to be had.

    References:
        Cai et al., 2022, arXiv 2202.01327.
    """

    groups: Sequence[str]
    cost: PerGroup
    budget: float
    objective: Objective = field(default_factory=Isoelastic)
    population: PerGroup | None = None
    weights: PerGroup | None = None
    held: PerGroup = 0.0
    available: PerGroup = np.inf
    best: Annotated[float, Within()] = 1.0
    pilot: int | None = None
    rounds: Annotated[int, Within(1, integer=True)] = 10
    explore_floor: float | None = None
    gamma_bounds: tuple[float, float] = (0.05, 2.0)
    transfer: ArrayLike | None = None
    rule: Annotated[Rule, OneOf("curves", "worst_group", "slope", "random")] = "curves"
    seed: Annotated[int, Kind(int)] = 0

    def __post_init__(self) -> None:
        check(self)
        object.__setattr__(self, "budget", check_budget(self.budget))
        check_objective(self.objective)
        freeze = object.__setattr__
        freeze(self, "groups", _names(self.groups))
        names = tuple(self.groups)
        freeze(self, "cost", tuple(costs(by_group(self.cost, names, "cost"), names).tolist()))
        for name in ("population", "weights"):
            given = getattr(self, name)
            if name == "weights" and given is None:
                given = self.population
            values = None if given is None else by_group(given, names, name)
            freeze(self, name, tuple(shares(values, names, name).tolist()))
        for name in ("held", "available"):
            values = one_each(by_group(getattr(self, name), names, name), names, name)
            refuse(name, values, values >= 0, ">= 0", names)
            freeze(self, name, tuple(values.tolist()))
        held = self.array("held")
        refuse("held", held, np.isfinite(held) & (held == np.floor(held)), "whole", names)
        if self.transfer is not None:
            rows = transfers(self.transfer, len(names)).tolist()
            freeze(self, "transfer", tuple(map(tuple, rows)))
        self._check_pilot()
        self._check_rounds()

    def array(self, field: str) -> Floats:
        """One column of the plan, ``(G,)``: such as ``"cost"`` or ``"held"``."""
        return np.asarray(getattr(self, field), dtype=np.float64)

    def _check_pilot(self) -> None:
        if self.pilot is not None and (
            isinstance(self.pilot, bool)
            or not isinstance(self.pilot, int)
            or self.pilot < _LEAST_PILOT
        ):
            raise ParameterError(
                f"SamplingPlan.pilot must be an integer >= {_LEAST_PILOT}; got {self.pilot!r}: "
                "fewer samples cannot identify the three parameters of a curve."
            )
        have = self.array("held") + self.array("available")
        refuse("held + available", have, have >= _LEAST_PILOT, f">= {_LEAST_PILOT}", self.groups)
        price = float(self.array("cost") @ self.pilot_counts())
        if price > self.budget * (1 + 1e-9):
            raise ParameterError(
                f"the pilot alone costs {price:g}, more than the budget of {self.budget:g}; use "
                "a smaller pilot or fewer groups."
            )

    def _check_rounds(self) -> None:
        check_gamma_bounds(self.gamma_bounds)
        floor, most = self.explore_floor, 1 / len(self.groups)
        if floor is not None and not (isinstance(floor, (int, float)) and 0 <= floor <= most):
            raise ParameterError(
                f"SamplingPlan.explore_floor must be in [0, 1/G] = [0, {most:g}]; got {floor!r}."
            )
        if 1 / self.rounds < _SMALL_ROUND - 1e-12:
            warn(
                f"SamplingPlan: {self.rounds} rounds buy less than {_SMALL_ROUND:.0%} of the "
                "budget each; noise of the evaluations may decide.",
                4,
            )

    def pilot_counts(self) -> Floats:
        """Samples of each group that the pilot buys, ``(G,)``."""
        wanted = np.full(len(self.groups), float(self.pilot or 0))
        if self.pilot is None:
            share = self.budget / (len(self.groups) * self.array("cost"))
            wanted = np.maximum(20.0, np.floor(0.01 * share))
        missing = np.maximum(np.ceil(wanted - self.array("held")), 0.0)
        return np.minimum(missing, np.floor(self.array("available")))

    @property
    def explore_share(self) -> float:
        """Least share of a round's money that each group gets."""
        if self.explore_floor is not None:
            return float(self.explore_floor)
        return min(_EXPLORE, 0.5 / len(self.groups))

    def to_json(self) -> dict[str, Any]:
        """Plain values; unlimited is null, a utility of one's own is its name."""
        record = {name: getattr(self, name) for name in self.__dataclass_fields__}
        record["objective"] = self.objective.to_json()
        record["available"] = [n if np.isfinite(n) else None for n in self.array("available")]
        record["explore_floor"] = self.explore_share
        return cast("dict[str, Any]", json.loads(json.dumps(record)))

    def digest(self) -> str:
        """SHA-256 of the plan."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()


def by_group(values: PerGroup, names: Sequence[str], name: str) -> ArrayLike:
    """Values in the order of the groups; a mapping must have every group and no other."""
    if not isinstance(values, Mapping):
        return values
    unknown = [group for group in values if group not in names]
    if unknown:
        raise ParameterError(
            f"{name} names group {unknown[0]!r}, which the plan does not have; "
            f"{nearest(str(unknown[0]), names)}"
        )
    missing = [group for group in names if group not in values]
    if missing:
        raise ParameterError(f"{name} has no value for group {missing[0]!r}.")
    return as_floats([values[group] for group in names], name)


def _names(groups: Any) -> tuple[str, ...]:
    if isinstance(groups, str) or not isinstance(groups, Sequence):
        raise ParameterError(f"groups must be a list of names; got {shown(groups)}.")
    names = tuple(cast("Sequence[Any]", groups))
    wrong = [name for name in names if not isinstance(name, str) or not name]
    if wrong or not names:
        raise ParameterError(f"groups must be one or more names; got {shown(list(names))}.")
    repeated = {name for name in names if names.count(name) > 1} if len(names) < 1000 else set()
    if len(set(names)) < len(names):
        raise ParameterError(f"groups must differ; {sorted(repeated)[:3]} are there twice.")
    return names

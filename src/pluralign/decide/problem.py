"""Items with costs, groups that value them, a budget: the problem that all rules solve."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast, final

import numpy as np
from numpy.typing import ArrayLike

from ..errors import DataError, DataQualityWarning, ParameterError
from ..rules import Within, nearest, shown
from . import fields as check
from .fields import Floats, Pair
from .weights import table

ROUNDING = 1e-10
"""Differences below this share of the largest utility are rounding errors, not differences."""


@final
@dataclass(frozen=True, eq=False)
class PackageProblem:
    r"""What groups get from packages of items, and what may be bought.

    Use it where several groups value the same measures differently and one package, bought
    with one budget, holds for all. Not for a single choice between two options (vote), nor
    where groups misreport on purpose (nothing here keeps them from it).

    A package x holds items: :math:`u_g(x) = base_g + \sum_j V_{gj} x_j` with
    :math:`\sum_j c_j x_j \le B`. A package is individually rational if :math:`u_g(x) \ge d_g`
    for every group.

    Args:
        values: ``(G, m)``, what item j adds to the utility of group g; may be negative. One
            scale for all groups: that they can be compared is an assumption; publish the rubric.
        cost: ``(m,)``, > 0, in the user's currency; what is free belongs into ``base``.
        budget: >= 0, in the same currency.
        base: utility without any item; one number or ``(G,)``.
        disagreement: utility that each group keeps if nothing is agreed; ``base`` if not given.
        weights: ``(G,)``, >= 0, for the weighted concepts; normalised; equal if not given.
        groups: G names.
        items: m names.
        conflicts: pairs of items, by name or number, that exclude each other.
        requires: pairs (item, what it needs).
        members: ``(P, G)``, whether person p belongs to group g. People who are in several
            groups then count once in the person-weighted total.

    Raises:
        DataError: naming group and item, for values, costs, pairs or members that cannot be used.
        ParameterError: for a budget, weights or a disagreement point that break their rules.

    Example:
        >>> problem = PackageProblem([[3, 0, 1], [0, 2, 1]], cost=[2, 2, 1], budget=3,
        ...                          items=("ramp", "benches", "shade"))
        >>> problem.utilities([0, 2]).tolist(), problem.spent([0, 2])
        ([4.0, 1.0], 3.0)

    Differs from the paper: ours; the paper's text on costs and utilities was not to be had.

    References:
        Mushkani et al., 2025, arXiv 2503.12613.
    """

    values: ArrayLike
    cost: ArrayLike
    budget: float
    base: ArrayLike = 0.0
    disagreement: ArrayLike | None = None
    weights: ArrayLike | None = None
    groups: Sequence[str] | None = None
    items: Sequence[str] | None = None
    conflicts: Sequence[Sequence[str | int]] = ()
    requires: Sequence[Sequence[str | int]] = ()
    members: ArrayLike | None = None

    def __post_init__(self) -> None:
        freeze = object.__setattr__
        shape = check.shape(self.values)
        groups = check.names(self.groups, shape[0] if shape else 0, "group")
        items = check.names(self.items, shape[1] if len(shape) == 2 else 0, "item")
        freeze(self, "groups", groups)
        freeze(self, "items", items)
        freeze(self, "values", check.frozen(check.values(self.values, groups, items)))
        freeze(self, "cost", check.frozen(check.costs(self.cost, items)))
        if not Within(0.0).admits(check.plain(self.budget)):
            raise ParameterError(f"budget must be a finite number >= 0; got {shown(self.budget)}.")
        freeze(self, "budget", float(self.budget))
        base = check.each(self.base, groups, "base")
        freeze(self, "base", check.frozen(base))
        point = base if self.disagreement is None else self.disagreement
        freeze(self, "disagreement", check.frozen(check.each(point, groups, "disagreement")))
        freeze(self, "weights", check.frozen(check.weights(self.weights, groups)))
        freeze(self, "conflicts", check.pairs(self.conflicts, items, "conflicts"))
        freeze(self, "requires", check.pairs(self.requires, items, "requires"))
        self._refuse_impossible()
        if self.members is not None:
            freeze(self, "members", check.frozen(check.members(self.members, groups)))
        self._warn()

    @classmethod
    def from_criteria(
        cls,
        effects: ArrayLike,
        criterion_weights: ArrayLike | Mapping[str, ArrayLike],
        *,
        cost: ArrayLike,
        budget: float,
        groups: Sequence[str] | None = None,
        **others: Any,
    ) -> PackageProblem:
        """A problem whose values are effects on public criteria, weighed by each group.

        Args:
            effects: ``(m, C)``, what each item does to each criterion.
            criterion_weights: ``(G, C)`` or one row by group name, >= 0; rows are normalised.
            cost: as of the class; so are ``budget`` and ``others``.
            budget: money to spend.
            groups: names; those of the mapping if not given.
            others: further fields of the class.

        Raises:
            DataError: for a group without weights, or tables that do not fit.

        Example:
            >>> problem = PackageProblem.from_criteria(
            ...     [[1, 0], [0, 2]], {"old": [3, 1], "young": [0, 1]}, cost=[1, 1], budget=1)
            >>> problem.values.tolist()
            [[0.75, 0.5], [0.0, 2.0]]
        """
        names = groups
        if isinstance(criterion_weights, Mapping):
            rows = criterion_weights
            names = tuple(rows) if groups is None else groups
            for name in names:
                if name not in rows:
                    raise DataError(
                        f"group {name!r} has no criterion weights; {nearest(name, rows)}"
                    )
            criterion_weights = cast("Any", [rows[name] for name in names])
        weights = table(cast("ArrayLike", criterion_weights), "criterion_weights", names)
        given = table(effects, "effects", None)
        if weights.shape[1] != given.shape[1]:
            raise DataError(
                f"effects has {given.shape[1]} criteria, criterion_weights {weights.shape[1]}."
            )
        total = weights.sum(axis=1, keepdims=True)
        if (weights < 0).any() or not (total > 0).all():
            row = int(np.flatnonzero((weights < 0).any(axis=1) | (total[:, 0] <= 0))[0])
            raise DataError(
                "criterion_weights must be >= 0 and not all 0 in a row; got "
                f"{weights[row].tolist()} for {check.of(names, row)}."
            )
        values = weights / total @ given.T
        return cls(values, cost, budget, groups=names, **others)

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of groups and of items."""
        return cast("tuple[int, int]", np.shape(self.values))

    @property
    def value_table(self) -> Floats:
        """``values`` as an array, ``(G, m)``."""
        return np.asarray(self.values)

    @property
    def prices(self) -> Floats:
        """``cost`` as an array, ``(m,)``."""
        return np.asarray(self.cost)

    @property
    def start(self) -> Floats:
        """``base`` as an array, ``(G,)``."""
        return np.asarray(self.base)

    @property
    def point(self) -> Floats:
        """``disagreement`` as an array, ``(G,)``."""
        return np.asarray(self.disagreement)

    @property
    def shares(self) -> Floats:
        """``weights`` as an array that sums to 1, ``(G,)``."""
        return np.asarray(self.weights)

    @property
    def group_names(self) -> tuple[str, ...]:
        """Names of the groups."""
        return tuple(self.groups or ())

    @property
    def item_names(self) -> tuple[str, ...]:
        """Names of the items."""
        return tuple(self.items or ())

    @property
    def excluded(self) -> tuple[Pair, ...]:
        """``conflicts`` by number."""
        return cast("tuple[Pair, ...]", self.conflicts)

    @property
    def needed(self) -> tuple[Pair, ...]:
        """``requires`` by number."""
        return cast("tuple[Pair, ...]", self.requires)

    @property
    def scale(self) -> float:
        """The largest utility that could occur, in size; what tolerances are measured by."""
        size = np.abs(self.value_table).sum(axis=1) + np.abs(self.start) + np.abs(self.point)
        return float(size.max()) or 1.0

    @property
    def tolerance(self) -> float:
        """Utilities that differ by less are equal."""
        return ROUNDING * self.scale

    @property
    def limit(self) -> float:
        """The budget with room for rounding errors of a sum of costs."""
        return self.budget * (1 + 1e-12)

    def utilities(self, package: Sequence[int]) -> Floats:
        """What a package is worth to each group, ``(G,)``."""
        return self.start + self.value_table[:, list(package)].sum(axis=1)

    def spent(self, package: Sequence[int]) -> float:
        """What a package costs."""
        return float(self.prices[list(package)].sum())

    def allows(self, package: Sequence[int]) -> bool:
        """Whether a package is within the budget, without conflicts and unmet requirements."""
        held = set(package)
        return (
            self.spent(package) <= self.limit
            and not any(i in held and j in held for i, j in self.excluded)
            and all(j in held for i, j in self.needed if i in held)
        )

    def accepts(self, package: Sequence[int]) -> bool:
        """Whether no group is below its disagreement point."""
        return bool((self.utilities(package) >= self.point - self.tolerance).all())

    def named(self, package: Sequence[int]) -> tuple[str, ...]:
        """Names of the items of a package."""
        return tuple(self.item_names[j] for j in package)

    def changed(self, **fields_: Any) -> PackageProblem:
        """The same problem with other values of some fields; what was said is not said again."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataQualityWarning)
            return dataclasses.replace(self, **fields_)

    def to_json(self) -> dict[str, Any]:
        """Plain values; :meth:`from_json` reads them back."""
        found: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                value = cast("list[Any]", value.tolist())
            elif isinstance(value, tuple):
                value = [
                    list(cast("Any", one)) if isinstance(one, tuple) else one
                    for one in cast("tuple[Any, ...]", value)
                ]
            found[field.name] = value
        return found

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> PackageProblem:
        """The problem of :meth:`to_json`."""
        return cls(**values)

    def _refuse_impossible(self) -> None:
        """Refuse items that can never be chosen because what they need excludes itself."""
        reach = {j: {j} for j in range(self.shape[1])}
        for _ in range(len(self.needed)):
            for i, j in self.needed:
                reach[i] |= reach[j]
        for item, all_needed in reach.items():
            for i, j in self.excluded:
                if i in all_needed and j in all_needed:
                    name, one, other = self.named((item, i, j))
                    raise DataError(
                        f"item {name!r} can never be chosen: it requires {one!r} and {other!r}, "
                        "which conflict; drop the item, a requirement or the conflict."
                    )

    def _warn(self) -> None:
        for group in np.flatnonzero((self.value_table <= 0).all(axis=1)):
            warnings.warn(
                f"no item helps group {self.group_names[group]!r}.",
                DataQualityWarning,
                stacklevel=4,
            )

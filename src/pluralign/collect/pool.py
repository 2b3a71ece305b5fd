"""Draw what was bought from a pool of rows: nested, repeatable, with its inclusion weights."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, cast, final

import numpy as np
from numpy.typing import NDArray

from ..data import Preferences
from ..errors import DataError, ParameterError
from ..rows import raise_rows
from ..rules import nearest, shown
from .curves import Floats, as_floats
from .problem import shares, warn

INCLUSION_WEIGHT = "inclusion_weight"
"""The attribute of bought pairs that re-weights them to the population."""


@final
class GroupPool:
    """Rows by group, each group in an order of its own that is drawn once.

    Use it to simulate a collection from data that exist, or to take what was bought from a
    catalogue of annotators. The first n rows of a group are the same for every n and do not
    depend on the other groups, so that a larger purchase contains every smaller one.

    Args:
        groups: N labels, one a row.
        seed: of the orders.
        source: what the rows came from, for messages.

    Raises:
        DataError: naming the rows that have no label or several.

    Example:
        >>> pool = GroupPool(["a", "a", "b", "a"], seed=0)
        >>> pool.sizes, len(pool.index({"a": 2, "b": 1}))
        ({'a': 3, 'b': 1}, 3)
        >>> pool.weights({"a": 2, "b": 1}, population={"a": 0.5, "b": 0.5}).round(2).tolist()
        [0.75, 0.75, 1.5]
    """

    def __init__(self, groups: Sequence[Any], *, seed: int = 0, source: str = "rows") -> None:
        labels = list(groups)
        problems = [(i, _wrong(label)) for i, label in enumerate(labels) if _wrong(label)]
        raise_rows(problems, source, len(labels))
        self.source, self.seed = source, seed
        rows: dict[str, list[int]] = {}
        for i, label in enumerate(labels):
            rows.setdefault(str(label), []).append(i)
        self._order = {name: _shuffled(found, name, seed) for name, found in sorted(rows.items())}

    @property
    def sizes(self) -> dict[str, int]:
        """Rows of each group."""
        return {name: len(order) for name, order in self._order.items()}

    def index(self, counts: Mapping[str, int]) -> NDArray[np.int64]:
        """Rows of the first ``counts[group]`` of each group, group by group.

        Raises:
            ParameterError: for an unknown group, or more rows than it has.
        """
        return np.concatenate([np.empty(0, np.int64), *self._taken(counts).values()])

    def weights(
        self, counts: Mapping[str, int], population: Mapping[str, float] | None = None
    ) -> Floats:
        """Weight of each row of :meth:`index`; see :func:`inclusion_weights`."""
        taken = {name: len(rows) for name, rows in self._taken(counts).items()}
        names = list(taken)
        shown_share = None if population is None else [population.get(n, 0.0) for n in names]
        each = inclusion_weights([taken[name] for name in names], shown_share)
        return np.repeat(each, [taken[name] for name in names])

    def pairs(
        self,
        pairs: Preferences,
        counts: Mapping[str, int],
        population: Mapping[str, float] | None = None,
    ) -> Preferences:
        """The bought pairs; their attribute ``inclusion_weight`` leads back to the population.

        Args:
            pairs: what the pool's labels belong to, row by row.
            counts: pairs of each group.
            population: shares of the groups; those of the pool if not given.

        Raises:
            DataError: if there are not as many pairs as labels, or nothing is bought.
        """
        if len(pairs) != sum(self.sizes.values()):
            raise DataError(
                f"the pool has {sum(self.sizes.values())} labels for {len(pairs)} pairs.",
                source=pairs.source,
            )
        rows = self.index(counts)
        if not len(rows):
            raise DataError("no pair is bought.", source=pairs.source)
        share = self.sizes if population is None else population
        column = {INCLUSION_WEIGHT: self.weights(counts, share)}
        bought = pairs.select(rows)
        return bought.with_columns(attributes={**bought.attributes, **column})

    def _taken(self, counts: Mapping[str, int]) -> dict[str, NDArray[np.int64]]:
        taken: dict[str, NDArray[np.int64]] = {}
        for name, count in counts.items():
            if name not in self._order:
                raise ParameterError(
                    f"{self.source} has no group {name!r}; {nearest(name, self._order)}"
                )
            if int(count) != count or not 0 <= count <= len(self._order[name]):
                raise ParameterError(
                    f"group {name!r} has {len(self._order[name])} rows; {count} were asked for."
                )
            taken[name] = self._order[name][: int(count)]
        return taken


def pool_of(pairs: Preferences, *, seed: int = 0) -> GroupPool:
    """The pool of preference pairs by their group column.

    Raises:
        DataError: without such a column.

    Example:
        >>> rows = [{"prompt": "?", "chosen": "a", "rejected": "b", "group": g} for g in "xyx"]
        >>> pairs = Preferences.from_records(rows)
        >>> bought = pool_of(pairs).pairs(pairs, {"x": 1, "y": 1})
        >>> bought.group, bought.attributes["inclusion_weight"].round(2).tolist()
        (('x', 'y'), [1.33, 0.67])
    """
    if pairs.group is None:
        raise DataError("buying by group needs a 'group' column.", source=pairs.source)
    return GroupPool(pairs.group, seed=seed, source=pairs.source)


def inclusion_weights(
    counts: Sequence[float] | Floats, population: Sequence[float] | Floats | None = None
) -> Floats:
    """Weight of a row of each group, ``p_g N / n_g``: the weighted sample is the population again.

    Use it wherever an estimate shall speak of the population although groups were bought
    unevenly. Groups without rows have weight 0; the others then share the population, with a
    warning. The mean over rows is 1.

    Args:
        counts: ``(G,)`` rows of each group.
        population: ``(G,)`` sizes or shares; equal if not given.

    Example:
        >>> inclusion_weights([300, 100], [0.5, 0.5]).round(3).tolist()
        [0.667, 2.0]
    """
    n = as_floats(counts, "counts")
    names = tuple(map(str, range(len(n))))
    share = shares(population, names, "population")
    there = n > 0
    if not there.all() and share[~there].sum() > 0:
        warn(
            f"{share[~there].sum():.1%} of the population is in groups without a single sample; "
            "no weight can make up for them."
        )
    reached = share[there].sum()
    if not reached > 0:
        return np.zeros(len(n))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(there, share / reached * n.sum() / n, 0.0)


def _wrong(label: object) -> str:
    """Why a value is no single group label; empty if it is one."""
    if isinstance(label, (list, tuple, set, frozenset, dict, np.ndarray)):
        several = shown(cast(Any, label))
        return f"has more than one group label ({several}); make each combination a group"
    missing = label is None or label != label or label == ""
    return f"has no group label; got {shown(label)}" if missing else ""


def _shuffled(rows: list[int], name: str, seed: int) -> NDArray[np.int64]:
    digest = hashlib.sha256(f"{seed}\0{name}".encode()).digest()
    order = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    return order.permutation(np.asarray(rows, dtype=np.int64))

"""Choice data of any source as one table: attributes, what was chosen, and by whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, ParameterError
from ..rules import nearest, shown
from .sources import open_source

_Row = Mapping[str, Any]


@final
@dataclass(frozen=True)
class ChoiceTable:
    """Rows of choices, or of alternatives.

    Attributes:
        columns: attributes by name, (n,) each; numbers, or text with ``None`` where missing.
        y: what was chosen, or whether the row's alternative was, (n,).
        unit: who chose, or the choice that the row belongs to, (n,).
        source: where it came from.
    """

    columns: dict[str, NDArray[Any]]
    y: NDArray[Any]
    unit: NDArray[Any]
    source: str


def load_choices(
    source: object,
    *,
    outcome: str,
    alternative: str | None = None,
    choice: str | None = None,
    unit: str | None = None,
    labelled: bool = True,
    leave_out: Sequence[str] = (),
) -> ChoiceTable:
    """Read choices from one row each, or from one row for each alternative.

    Use it for the classic tables of the choice literature and a user's own. Three layouts:

    - wide: one row a choice, ``outcome`` names what was chosen;
    - long, ``alternative`` given: ``outcome`` is 1 for the chosen alternative; attributes
      become one column an alternative (``price.bus``), or stay one where alternatives share
      their value;
    - long with ``labelled=False`` (alternatives 1, 2, 3 mean nothing): every alternative is
      a row, its attributes less their mean over the choice, ``y`` is whether it was chosen.

    Args:
        source: path of CSV, JSON lines or parquet, or an iterable of rows.
        outcome: column of the outcome.
        alternative: column that names the alternative of a row.
        choice: column that numbers choices, within a unit at least; ``unit`` if not given.
        unit: column of who chose; each choice by itself by default.
        labelled: whether alternatives have a meaning of their own.
        leave_out: columns that are no attributes.

    Raises:
        ParameterError: for a column that is not there.
        DataError: for a choice without exactly one chosen alternative, or with other
            alternatives than the first.

    Example:
        >>> rows = [{"id": i, "mode": m, "took": int(m == "bus"), "price": p, "age": 30.0 + i}
        ...         for i in range(2) for m, p in (("bus", 2.0), ("car", 5.0))]
        >>> table = load_choices(rows, outcome="took", alternative="mode", choice="id")
        >>> sorted(table.columns), table.y.tolist()
        (['age', 'price.bus', 'price.car'], ['bus', 'bus'])
    """
    read, name = open_source(source)
    rows: list[_Row] = list(read)
    if not rows:
        raise DataError("there are no rows.", source=name)
    named = [c for c in (outcome, alternative, choice, unit, *leave_out) if c is not None]
    for column in named:
        if column not in rows[0]:
            raise ParameterError(f"{name}: no column {column!r}; {nearest(column, rows[0])}")
    attributes = [c for c in rows[0] if c not in named]
    if alternative is None:
        keys = [row[unit] for row in rows] if unit else list(range(len(rows)))
        y = np.array([str(row[outcome]) for row in rows])
        return ChoiceTable(_columns(rows, attributes), y, array_of(keys), name)
    if choice is None and unit is None:
        raise ParameterError("choice or unit must name a column, to tell one choice from another.")
    sets = _sets(rows, (unit or choice, choice or unit), outcome, name)
    if not labelled:
        return _alternatives(sets, attributes, outcome, unit, name)
    return _choices(sets, attributes, outcome, alternative, name)


def _sets(
    rows: Sequence[_Row], keys: tuple[Any, Any], outcome: str, name: str
) -> dict[Any, list[tuple[int, _Row]]]:
    """Rows of each choice, in order, with their numbers."""
    found: dict[Any, list[tuple[int, _Row]]] = {}
    for number, row in enumerate(rows):
        found.setdefault(tuple(row[key] for key in keys), []).append((number, row))
    for key, members in found.items():
        chosen = sum(number_of(row[outcome]) or 0.0 for _, row in members)
        if chosen != 1:
            raise DataError(
                f"row {members[0][0]}: choice {shown(key[1])} has {chosen:g} chosen alternatives; "
                "one is needed.",
                source=name,
                rows=[number for number, _ in members],
            )
    return found


def _choices(
    sets: Mapping[Any, list[tuple[int, _Row]]],
    attributes: Sequence[str],
    outcome: str,
    alternative: str,
    name: str,
) -> ChoiceTable:
    """One row a choice, one column for each attribute of each alternative."""
    labels = sorted({str(row[alternative]) for members in sets.values() for _, row in members})
    wide = list[dict[str, Any]]()
    for members in sets.values():
        by_label = {str(row[alternative]): row for _, row in members}
        if sorted(by_label) != labels or len(members) != len(labels):
            raise DataError(
                f"row {members[0][0]}: the choice has the alternatives {shown(sorted(by_label))}, "
                f"others have {shown(labels)}; fill them or set labelled=False.",
                source=name,
                rows=[number for number, _ in members],
            )
        wide.append({f"{a}.{label}": by_label[label][a] for a in attributes for label in labels})
    kept = list[str]()
    for a in attributes:
        own = [f"{a}.{label}" for label in labels]
        shared = all(row[own[0]] == row[other] for row in wide for other in own)
        for row in wide if shared else ():
            row[a] = row[own[0]]
        kept += [a] if shared else own
    y = [
        str(row[alternative])
        for members in sets.values()
        for _, row in members
        if number_of(row[outcome])
    ]
    return ChoiceTable(_columns(wide, kept), np.array(y), array_of([key[0] for key in sets]), name)


def _alternatives(
    sets: Mapping[Any, list[tuple[int, _Row]]],
    attributes: Sequence[str],
    outcome: str,
    unit: str | None,
    name: str,
) -> ChoiceTable:
    """One row an alternative, attributes less their mean over the choice."""
    rows = [row for members in sets.values() for _, row in members]
    which = np.repeat(np.arange(len(sets)), [len(members) for members in sets.values()])
    found = _columns(rows, attributes)
    sizes = np.bincount(which)
    for attribute, column in found.items():
        if column.dtype.kind == "f":
            found[attribute] = column - (np.bincount(which, column) / sizes)[which]
    y = np.array([int(number_of(row[outcome]) or 0) for row in rows])
    owner = which if unit is None else array_of([row[unit] for row in rows])
    return ChoiceTable(found, y, owner, name)


def _columns(rows: Sequence[_Row], names: Sequence[str]) -> dict[str, NDArray[Any]]:
    return {name: array_of([row[name] for row in rows]) for name in names}


def array_of(values: Sequence[Any]) -> NDArray[Any]:
    """Numbers, text of numbers too, as float64, NaN where missing; else text, or ``None``.

    Example:
        >>> array_of(["1.5", None, ""]).tolist(), array_of(["a", None]).tolist()
        ([1.5, nan, nan], ['a', None])
    """
    given = [None if value == "" else value for value in values]
    numbers = [number_of(value) for value in given]
    if all(n is not None for n, value in zip(numbers, given, strict=True) if value is not None):
        return np.array([np.nan if number is None else number for number in numbers])
    found = np.empty(len(given), object)
    found[:] = [None if value is None else str(value) for value in given]
    return found


def number_of(value: Any) -> float | None:
    """A value as a number, ``None`` if it is none."""
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        return None

"""From rows of a named format to records of pairs, under the numbers of their rows."""

from __future__ import annotations

import itertools
import random
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, final

from ..errors import DataError
from ..rules import shown
from .formats import Format, recognised
from .formats.fields import Record, Row, RowError
from .formats.options import PairRules
from .formats.votes import Numbered
from .sources import open_source

Unit: TypeAlias = list[tuple[int, Any]]
"""Rows that are converted together, with their numbers."""

Table: TypeAlias = Mapping[tuple[Any, ...], Row]
"""Rows of a second table by the values of their keys."""


@final
@dataclass
class Converted:
    """What conversion made of some rows.

    Args:
        records: pairs with the numbers of their rows.
        broken: rows of a wrong type or format, with the reason.
        unusable: rows that lack something, with the reason.
    """

    records: list[Numbered] = field(default_factory=list[Numbered])
    broken: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    unusable: dict[int, str] = field(default_factory=dict[int, str])


def units(rows: Iterable[tuple[int, Any]], form: Format) -> Iterator[Unit]:
    """Rows that a format converts together; all are read first if they may be scattered."""
    if form.unit is None:
        yield from ([numbered] for numbered in rows)
        return
    key = form.unit
    if not form.scattered:
        for _, members in itertools.groupby(rows, lambda numbered: _unit_key(key, numbered[1])):
            yield list(members)
        return
    found: dict[Hashable, Unit] = {}
    for numbered in rows:
        found.setdefault(_unit_key(key, numbered[1]), []).append(numbered)
    yield from found.values()


def _unit_key(key: Any, row: Any) -> Hashable:
    return key(row) if isinstance(row, Mapping) else None


def convert(
    members: Iterable[Unit], form: Format, rules: PairRules, table: Table | None
) -> Converted:
    """Pairs of units of rows; every problem is collected, none is raised."""
    done = Converted()
    for unit in members:
        start = unit[0][0]
        try:
            rows = [_matched(row, form, table, at) for at, (_, row) in enumerate(unit)]
            draw = random.Random(f"{rules.seed} {start}")
            made = list(form.convert(rows, rules, draw))
        except RowError as problem:
            number = unit[problem.at][0]
            if problem.unusable:
                done.unusable[number] = problem.why
            else:
                done.broken.append((number, problem.why))
            continue
        done.records += [(start, record) for record in _named(_common(rows), made, start)]
    return done


def _matched(row: Any, form: Format, table: Table | None, at: int) -> Row:
    """A row with the columns of its row in the second table, if there is one."""
    if not isinstance(row, Mapping):
        raise RowError(f"must be a mapping of columns to values; got {shown(row)}", at=at)
    if table is None:
        return row
    key = tuple(row.get(name) for name in form.keys)
    try:
        other = table.get(key)
    except TypeError:  # a value that cannot be a key
        other = None
    if other is None:
        stated = ", ".join(f"{n}={shown(v)}" for n, v in zip(form.keys, key, strict=True))
        raise RowError(f"the joined table has no row with {stated}", unusable=True, at=at)
    return {**other, **row}


def _common(rows: Sequence[Row]) -> Record:
    """The columns in which all rows of a unit agree."""
    first = rows[0]
    if len(rows) == 1:
        return dict(first)
    return {
        name: value
        for name, value in first.items()
        if all(repr(row.get(name)) == repr(value) for row in rows[1:])
    }


def _named(common: Record, made: Sequence[Record], start: int) -> Iterator[Record]:
    """Records with the columns of their rows and an id each."""
    base = start if common.get("id") is None else common["id"]
    for position, record in enumerate(made):
        yield {**common, "id": base if len(made) == 1 else f"{base}-{position}", **record}


def joined_table(form: Format, rules: PairRules, companion: Path | None) -> Table | None:
    """The second table of a format by its keys, if one is given or lies beside the rows.

    Raises:
        DataError: if the table lacks a key, or has one twice.
        FileNotFoundError: if there is no such file.
    """
    origin = companion if rules.join is None else rules.join
    if origin is None or not form.keys:
        return None
    stream, name = open_source(origin)
    found: dict[tuple[Any, ...], Row] = {}
    for number, row in enumerate(stream):
        key = tuple(row.get(part) for part in form.keys) if isinstance(row, Mapping) else (None,)
        if None in key or not all(isinstance(part, (str, int)) for part in key):
            raise DataError(
                f"row {number} lacks a name or number in {' or '.join(form.keys)}, by which its "
                "rows are matched; mend the table.",
                source=name,
                rows=[number],
            )
        if key in found:
            raise DataError(
                f"rows are matched by {', '.join(form.keys)}, but row {number} repeats "
                f"{shown(key)}; keep one of them.",
                source=name,
                rows=[number],
            )
        found[key] = row
    return found


def demand_columns(first: object, form: Format, source: str) -> None:
    """Refuse rows that lack a column of the format that was asked for.

    Raises:
        DataError: naming the columns, and the format that they look like.
    """
    if not isinstance(first, Mapping):
        return
    absent = [name for name in form.columns if name not in first]
    if absent:
        other = recognised(first)
        hint = f" They look like format={other.name!r}." if other is not None else ""
        raise DataError(
            f"format {form.name!r} needs the columns {list(form.columns)}; there is no "
            f"{', '.join(map(repr, absent))} among {sorted(map(str, first))}.{hint}",
            source=source,
        )

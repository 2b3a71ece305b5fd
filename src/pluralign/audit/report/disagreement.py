"""How far groups are from one another, by criterion: a section of the page of a decision."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from ...errors import DataError
from .fields import finite, items, mapping, number_of
from .intervals import Intervals, Mark, Row
from .parts import Section, make_figure
from .scales import number
from .svg import isolated, plain
from .tables import Table, figure, word

CAPTION = (
    "How far a group's {} are from the mean of the other groups, on average over the options "
    "and in the unit of the scale. The farthest group of each criterion is marked."
)


def disagreement_section(record: object) -> Section | None:
    """The section of the plain record of a ``Disagreement``; ``None`` where there is none.

    Raises:
        DataError: naming the part that is not of the expected kind.
    """
    top = mapping(record, "disagreement")
    if not top:
        return None
    groups, criteria = names_of(top, "groups"), names_of(top, "criteria")
    table = [_numbers(row) for row in _list(top, "distance")]
    if len(table) != len(groups) or any(len(row) != len(criteria) for row in table):
        raise DataError(f"disagreement.distance must be {len(groups)} rows of {len(criteria)}.")
    rows: list[Row] = []
    for place, criterion in enumerate(criteria):
        column = [row[place] for row in table]
        rows.append(Row(plain(criterion), "", (), ruled=True))
        rows += [_row(g, v, column) for g, v in zip(groups, column, strict=True)]
    draw = Intervals(tuple(rows), (), number, "mean distance to the other groups", floor=0.0)
    head = ("group", *(plain(name, 60) for name in criteria))
    cells = [
        (word(g), *(figure(v, number) for v in row)) for g, row in zip(groups, table, strict=True)
    ]
    data = Table("Distance to the other groups", head, tuple(cells))
    filled = [isolated(name) for name in map(str, _list(top, "fill_ins"))]
    note = f"Filled in from the other groups, so no opinion of its own: {', '.join(filled)}."
    caption = [CAPTION.format(plain(top.get("what") or "ratings", 40)), note if filled else ""]
    made = make_figure("disagreement-figure", "Who stands apart?", caption, draw, data)
    tables = (_agreement(top, criteria),) if top.get("agreement") else ()
    return Section("disagreement", "Disagreement", "Where do groups disagree?", (made,), tables)


def names_of(record: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """Names of a record."""
    return tuple(map(str, _list(record, key)))


def _list(record: Mapping[str, Any], key: str) -> list[object]:
    value = record.get(key)
    if value is not None and not isinstance(value, (list, tuple)):
        raise DataError(f"{key} must be a list.")
    return list(cast("list[object]", value or []))


def _numbers(row: object) -> list[float | None]:
    return [finite(value) for value in _list({"distance": row}, "distance")]


def _row(group: str, value: float | None, column: list[float | None]) -> Row:
    farthest = value is not None and value == max(v for v in column if v is not None)
    tip = f"{isolated(group)}\n{number(value)} from the others"
    mark = Mark(8 if farthest else 0, value, None, None, tip, number(value))
    return Row(plain(group), "", (mark,), tag="farthest" if farthest else "")


def _agreement(top: Mapping[str, Any], criteria: tuple[str, ...]) -> Table:
    tests = items(top.get("agreement"), "disagreement.agreement")
    names = ("value", "quantile", "p_value")
    rows = [
        (word(name), *(figure(number_of(test, key, at), number) for key in names))
        for name, (test, at) in zip(criteria, tests, strict=False)
    ]
    head = ("criterion", "Kendall's W", "95 % of shuffles", "p-value")
    return Table("Do groups put the options in one order?", head, tuple(rows))

"""The section of domains: how each head, or way of combining heads, does on each domain."""

from __future__ import annotations

from typing import Any, cast

from ...errors import DataError
from . import groups_words as words
from .disagreement import names_of
from .fields import finite, items, mapping, number_of, text_of
from .heat import Heat, HeatRow
from .parts import Section, make_figure
from .scales import number, percent, without_unit
from .svg import isolated, plain
from .tables import Table, figure, word
from .words import count


def domains_section(record: object) -> Section | None:
    """The heat map of domains by heads; ``None`` where the record has none.

    Raises:
        DataError: naming the part that is not of the expected kind.
    """
    top = mapping(record, "domains")
    if not top:
        return None
    columns = tuple(plain(name, 60) for name in names_of(top, "columns"))
    rows = [_row(row, at, len(columns)) for row, at in items(top.get("rows"), "domains.rows")]
    if not columns or not rows:
        raise DataError("domains needs 'columns' and 'rows'.")
    share = text_of(top, "measure") in ("", "accuracy")
    write = percent if share else number
    title = "Accuracy by domain and head" if share else plain(text_of(top, "measure"), 60)
    draw = Heat(columns, tuple(rows), _percent if share else number)
    numbered = ", ".join(f"{i + 1} {isolated(name)}" for i, name in enumerate(columns))
    unit = "Values in percent." if share else ""
    said = [words.DOMAINS, f"Columns: {numbered}.", unit]
    head = ("domain", "rows", *columns)
    cells = [
        (word(row.name), word(row.note), *(figure(value, write) for value in row.values))
        for row in rows
    ]
    table = Table(title, head, tuple(cells))
    made = make_figure("domains-figure", _title(rows, columns, title), said, draw, table)
    return Section("domains", "Domains", "Which head serves which domain?", (made,))


def _percent(value: float | None) -> str:
    return without_unit(percent(value))


def _row(record: Any, at: str, size: int) -> HeatRow:
    given = record.get("values")
    values = cast("list[object]", given) if isinstance(given, (list, tuple)) else []
    if len(values) != size:
        raise DataError(f"{at}.values must be {size} numbers, one for each column.")
    n = number_of(record, "n", at)
    note = "" if n is None else count(int(n), "row")
    found = tuple(finite(value) for value in values)
    return HeatRow(plain(text_of(record, "name") or "(no name)", 80), note, found)


def _title(rows: list[HeatRow], columns: tuple[str, ...], fallback: str) -> str:
    """The column that is best on the worst-off domain."""
    floors = [
        (min(known), name)
        for place, name in enumerate(columns)
        if len(known := [v for row in rows if (v := row.values[place]) is not None]) == len(rows)
    ]
    if not floors or fallback != "Accuracy by domain and head":
        return fallback
    least, name = max(floors)
    return f"{isolated(name)} does best by the worst-off domain, {percent(least)}"

"""Tables: the data behind each figure, and records of any shape laid out flat."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast, final

from .fields import finite
from .scales import MISSING, Format, number
from .svg import plain


@final
@dataclass(frozen=True)
class Cell:
    """A table cell: what is shown, and the exact number for the download, if it is one."""

    text: str
    raw: str = ""
    is_number: bool = False
    strong: bool = False


@final
@dataclass(frozen=True)
class Table:
    """A table with its heading row; ``name`` says what it holds."""

    name: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


def word(text: object, strong: bool = False) -> Cell:
    """A cell of a user's text."""
    return Cell(plain(text, 160), strong=strong)


def figure(value: float | int | None, write: Format) -> Cell:
    """A cell of a number, exact in the download."""
    return Cell(write(value), "" if value is None else repr(value), is_number=True)


_MAX_LIST = 8


def value_cell(value: object) -> Cell:
    """A cell for a value of a record whose meaning is not known here."""
    exact = finite(value)
    if value is None or (exact is None and isinstance(value, float)):
        return Cell(MISSING, is_number=True)
    return word(value) if exact is None else figure(exact, number)


def flattened(record: Mapping[str, Any], stem: str = "") -> dict[str, object]:
    """Leaves of a nested record by their path, ``policy · accuracy``; long lists are counted."""
    found: dict[str, object] = {}
    for key, value in record.items():
        path = f"{stem} · {spoken(key)}" if stem else spoken(key)
        if isinstance(value, Mapping):
            found.update(flattened(cast(Mapping[str, Any], value), path))
        elif isinstance(value, (list, tuple)):
            found.update(_listed(cast(Sequence[object], value), path))
        else:
            found[path] = value
    return found


def leaves(value: object) -> dict[str, object]:
    """Leaves of any value of a record; a bare value has the path ``value``."""
    if isinstance(value, Mapping):
        return flattened(cast(Mapping[str, Any], value))
    if isinstance(value, (list, tuple)):
        return _listed(cast(Sequence[object], value), "value")
    return {} if value is None else {"value": value}


def _listed(values: Sequence[object], path: str) -> dict[str, object]:
    if all(isinstance(value, Mapping) for value in values) and len(values) <= _MAX_LIST:
        found: dict[str, object] = {}
        for place, value in enumerate(values, start=1):
            found.update(flattened(cast(Mapping[str, Any], value), f"{path} {place}"))
        return found
    if len(values) > _MAX_LIST:
        return {path: f"{len(values)} values"}
    return {path: ", ".join(map(_brief, values)) or MISSING}


def _brief(value: object) -> str:
    exact = finite(value)
    return str(value) if exact is None else number(exact)


def spoken(key: object) -> str:
    """A key of a record in words."""
    return plain(str(key).replace("_", " "), 80)


def side_by_side(name: str, columns: Iterable[tuple[str, Mapping[str, object]]]) -> Table:
    """Flat records as columns of one table, their paths as rows."""
    named = list(columns)
    paths = dict.fromkeys(path for _, record in named for path in record)
    rows = [(word(path), *(value_cell(record.get(path)) for _, record in named)) for path in paths]
    return Table(
        name, ("", *(plain(title, 60) if title else "" for title, _ in named)), tuple(rows)
    )

"""Taking fields out of one row, with a complaint that names field, value and what is wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, cast

from ...rules import shown

Row: TypeAlias = Mapping[str, Any]
Record: TypeAlias = dict[str, Any]


class RowError(Exception):
    """Why one row cannot be converted; readers turn it into an error that names the row.

    Args:
        why: what is wrong with which field.
        unusable: whether something is missing, so that the row may be dropped on request;
            otherwise its type or format is wrong, which is always an error.
        at: which row of those converted together.
    """

    def __init__(self, why: str, *, unusable: bool = False, at: int = 0) -> None:
        super().__init__(why)
        self.why = why
        self.unusable = unusable
        self.at = at


def present(row: Row, name: str) -> Any:
    """A field that must not be missing or null."""
    value = row.get(name)
    if value is None:
        raise RowError(f"{name} is missing or null", unusable=True)
    return value


def text(row: Row, name: str) -> str:
    """A string."""
    value = present(row, name)
    if not isinstance(value, str):
        raise RowError(f"{name} must be a string; got {shown(value)}")
    return value


def number(row: Row, name: str) -> float:
    """A finite number; digits in a string (as CSV and some sets have them) count."""
    value = present(row, name)
    try:
        if isinstance(value, bool):
            raise TypeError
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        raise RowError(f"{name} must be a number; got {shown(value)}") from None
    if not math.isfinite(found):
        raise RowError(f"{name} must be finite; got {found}")
    return found


def choice(row: Row, name: str, allowed: Sequence[int]) -> int:
    """One of a few whole numbers."""
    found = number(row, name)
    if found not in allowed:
        raise RowError(
            f"{name} must be one of {', '.join(map(str, allowed))}; got {shown(row[name])}"
        )
    return int(found)


def mapping(row: Row, name: str) -> Row:
    """A mapping of names to values."""
    value = present(row, name)
    if not isinstance(value, Mapping):
        raise RowError(f"{name} must be a mapping; got {shown(value)}")
    return cast("Row", value)


def mappings(row: Row, name: str) -> list[Row]:
    """A list of mappings."""
    value = present(row, name)
    if not isinstance(value, (list, tuple)):
        raise RowError(f"{name} must be a list; got {shown(value)}")
    for part in cast("Sequence[Any]", value):
        if not isinstance(part, Mapping):
            raise RowError(f"{name} must hold mappings; it holds {shown(part)}")
    return list(cast("Sequence[Row]", value))


def instruction(row: Row) -> str:
    """An instruction with its input after a blank line, where there is one."""
    given = row.get("input")
    extra = "" if given is None else text(row, "input")
    return f"{text(row, 'instruction')}\n\n{extra}" if extra else text(row, "instruction")

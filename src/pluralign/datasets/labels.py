"""Which columns say who gave a pair: a column, a field inside one, or several together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, cast

from ..errors import ParameterError
from ..rows import raise_rows
from ..rules import shown

Label: TypeAlias = str | Sequence[str] | None
"""A column, ``column.field`` of a nested one, or several that together are the label."""


def label_names(label: Label) -> tuple[str, ...]:
    """The columns that a label asks for."""
    return () if label is None else (label,) if isinstance(label, str) else tuple(label)


def check_label(name: str, label: object) -> str:
    """What is wrong with a label option; empty if nothing is."""
    if label is None or (isinstance(label, str) and label):
        return ""
    parts = cast("Sequence[Any]", label) if isinstance(label, (list, tuple)) else ()
    if parts and all(isinstance(part, str) and part for part in parts):
        return ""
    return f"{name} must be the name of a column or a list of names; got {shown(label)}."


def value_of(row: Mapping[str, Any], path: str) -> Any:
    """The value of a column, or of ``column.field`` inside it; ``None`` if it is not there."""
    if path in row:
        return row[path]
    value: Any = row
    for step in path.split("."):
        value = cast("Mapping[str, Any]", value).get(step) if isinstance(value, Mapping) else None
    return value


def add_label(
    rows: Sequence[dict[str, Any]], name: str, label: Label, default: str | None, source: str
) -> str | None:
    """Make sure that one column of the rows holds a label, and say which.

    Args:
        rows: records of pairs; a column is added where the label is not one already.
        name: ``group``, ``annotator`` or ``domain``.
        label: what was asked for.
        default: column of the format that serves otherwise, if all rows have it.
        source: for messages.

    Returns:
        The column, or ``None`` for "``name``, if the rows have it".

    Raises:
        DataError: naming rows whose label is no single name.
    """
    paths = label_names(label)
    if not paths and default is not None and all(row.get(default) is not None for row in rows):
        paths = (default,)
    if not paths:
        _demand_names(rows, name, source)
        return None
    column = " × ".join(paths)
    if len(paths) > 1 or "." in column:
        for row in rows:
            values = [value_of(row, path) for path in paths]
            if len(paths) == 1:
                row.setdefault(column, values[0])
            elif None not in values:
                row[column] = " × ".join(map(str, values))
    _demand_names(rows, column, source)
    return column


def _demand_names(rows: Sequence[Mapping[str, Any]], column: str, source: str) -> None:
    """Refuse labels that would only look like names, such as ``nan`` or a whole mapping."""
    problems: list[tuple[int, str]] = []
    for number, row in enumerate(rows):
        value = row.get(column)
        if value is not None and not isinstance(value, (str, bool, int, float)):
            inside = (
                f"; name a field, such as {column}.{next(iter(value), '')}"
                if isinstance(value, Mapping) and value
                else ""
            )
            problems.append((number, f"{column} must be one name; got {shown(value)}{inside}"))
        elif isinstance(value, str) and not value.strip():
            problems.append((number, f"{column} is blank"))
        elif value != value:
            problems.append((number, f"{column} is NaN, which stands for a missing value"))
    raise_rows(problems, source, len(rows))


def refuse_labels(options: Mapping[str, Label]) -> None:
    """Refuse labels that were asked for where they have no effect.

    Raises:
        ParameterError: naming them.
    """
    given = [name for name, label in options.items() if label is not None]
    if given:
        raise ParameterError(
            f"{' and '.join(given)} has no effect with options votes='share', where the votes of "
            "several people are one row; leave it out, or use votes='each'."
        )

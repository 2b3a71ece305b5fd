"""Rows as files hold them: read them, take columns out, name the bad ones.

Everything here raises :class:`DataError` with the row numbers, so that a container
or a reader never has to word that message itself.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from .errors import DataError
from .rules import shown

_MAX_ROWS_SHOWN = 5


def read_jsonl(path: str | Path) -> list[dict[str, Any]]:
    """The objects of a JSON Lines file (``.jsonl`` or ``.jsonl.gz``); blank lines are skipped.

    Raises:
        DataError: naming the line, for text that is not UTF-8 or not a JSON object.
    """
    path = Path(path)
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(raw.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line.decode("utf-8"))
        except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
            raise DataError(
                f"line {number} is not JSON ({error}); mend or remove it.",
                source=str(path),
                rows=[number - 1],
            ) from error
        if not isinstance(row, dict):
            raise DataError(
                f"line {number} must be a JSON object; got {shown(row)}.",
                source=str(path),
                rows=[number - 1],
            )
        rows.append(cast("dict[str, Any]", row))
    return rows


def take_column(
    rows: Sequence[Mapping[str, Any]], name: str, source: str, *, required: bool = False
) -> list[Any] | None:
    """Values of one column; ``None`` if no row has it and it may be absent."""
    missing = [i for i, row in enumerate(rows) if row.get(name) is None]
    if len(missing) == len(rows) and not required:
        return None
    if missing:
        seen = sorted({key for row in rows[:100] for key in row})
        raise_rows(
            [(i, f"{name} is missing or null") for i in missing],
            source,
            len(rows),
            hint=f" The columns are {seen}.",
        )
    return [row[name] for row in rows]


def numbers(values: Any, name: str, source: str) -> NDArray[np.float64]:
    """One numeric column as float64 of shape ``(N,)``."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        bad = [i for i, value in enumerate(values) if not isinstance(value, (int, float))]
        detail = f"row {bad[0]} has {shown(values[bad[0]])}" if bad else str(error)
        raise DataError(f"{name} must hold numbers; {detail}.", source=source, rows=bad) from error
    if array.ndim != 1:
        raise DataError(
            f"{name} must have one value a pair; got shape {array.shape}.", source=source
        )
    return array


def frozen_text(text: Any) -> Any:
    """A conversation or token ids as a tuple, so that a container can be immutable."""
    return tuple(cast("list[Any]", text)) if isinstance(text, list) else text


def text_problem(text: object, *, empty_allowed: bool) -> str:
    """Why a value is no usable text; empty if it is one."""
    if isinstance(text, str):
        return "" if text.strip() or empty_allowed else "is blank"
    if not isinstance(text, tuple):
        return f"must be a string, a list of messages or token ids; got {shown(text)}"
    parts = cast("tuple[Any, ...]", text)
    if not parts:
        return "" if empty_allowed else "is empty"
    if all(isinstance(part, int) and not isinstance(part, bool) and part >= 0 for part in parts):
        return ""
    for part in parts:
        if not isinstance(part, Mapping):
            return f"mixes messages with {shown(part)}"
        turn = cast("Mapping[str, Any]", part)
        if not isinstance(turn.get("role"), str) or not isinstance(turn.get("content"), str):
            return f"has a message without 'role' and 'content' strings: {shown(dict(turn))}"
    return ""


def raise_rows(
    problems: Sequence[tuple[int, str]], source: str, size: int, *, hint: str = ""
) -> None:
    """Raise one :class:`DataError` for all (row, what is wrong) problems, if there are any."""
    if not problems:
        return
    ordered = sorted(problems)
    rows = sorted({row for row, _ in ordered})
    listed = "; ".join(f"row {row}: {what}" for row, what in ordered[:_MAX_ROWS_SHOWN])
    more = f"; and {len(ordered) - _MAX_ROWS_SHOWN} more" if len(ordered) > _MAX_ROWS_SHOWN else ""
    raise DataError(
        f"{len(rows)} of {size} rows cannot be used: {listed}{more}. Mend or drop them.{hint}",
        source=source,
        rows=rows,
    )

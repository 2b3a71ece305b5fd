"""Prompts from a file: a text a line, or a column of any table that pairs are read from."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from ...datasets.sources import open_source
from ...engines.sampling.base import Prompt
from ...errors import DataError, DataQualityWarning
from ...rows import reading
from ...rules import nearest, shown


class Asked(NamedTuple):
    """A prompt, and the group it is of; empty if none was named."""

    prompt: Prompt
    group: str


def read_prompts(
    path: str,
    *,
    field: str = "prompt",
    group: str | None = None,
    limit: int | None = None,
    chat: bool = False,
) -> list[Asked]:
    """The distinct prompts of a file, in its order.

    Args:
        path: ``.txt`` (a prompt a line), or JSON, JSONL, CSV or Parquet, also gzipped.
        field: column with a text or messages.
        group: column that names the group.
        limit: only the first so many prompts, counted without repetitions.
        chat: make a text the turn of a user.

    Raises:
        DataError: for a missing column, or a prompt that is none, with its row; if there
            are no prompts.
        FileNotFoundError: if there is no such file.
    """
    found: dict[str, Asked] = {}
    repeated = 0
    for number, row in enumerate(_rows(path, field)):
        if limit is not None and len(found) >= limit:
            break
        prompt = _prompt(_cell(row, field, path, number), path, number)
        name = "" if group is None else str(_cell(row, group, path, number))
        key = json.dumps(prompt)
        repeated += key in found
        turns = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        found.setdefault(key, Asked(turns if chat else prompt, name))
    if not found:
        raise DataError("holds no prompts.", source=path)
    if repeated:
        warnings.warn(
            f"{path}: {repeated} prompts are repeated; each is asked once.",
            DataQualityWarning,
            stacklevel=2,
        )
    return list(found.values())


def _rows(path: str, field: str) -> Iterable[Any]:
    if Path(path).suffix.lower() != ".txt":
        return open_source(path)[0]
    with reading(path):
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    return [{field: line} for line in lines if line.strip()]


def _cell(row: Any, column: str, path: str, number: int) -> Any:
    if not isinstance(row, Mapping):
        raise DataError(
            f"row {number}: must be an object; got {shown(row)}.", source=path, rows=[number]
        )
    cells = cast("Mapping[str, Any]", row)
    if column not in cells:
        raise DataError(
            f"row {number}: has no column {column!r}; {nearest(column, map(str, cells))}",
            source=path,
            rows=[number],
        )
    return cells[column]


def _prompt(value: Any, path: str, number: int) -> Prompt:
    if isinstance(value, str) and value.strip():
        return value
    turns = cast("Sequence[Any]", value) if isinstance(value, list) else ()
    if turns and all(_is_turn(turn) for turn in turns) and turns[-1]["content"].strip():
        return [{"role": turn["role"], "content": turn["content"]} for turn in turns]
    raise DataError(
        f"row {number}: a prompt must be a text or messages with role and content; "
        f"got {shown(value)}.",
        source=path,
        rows=[number],
    )


def _is_turn(turn: Any) -> bool:
    return isinstance(turn, Mapping) and all(
        isinstance(cast("Mapping[str, Any]", turn).get(name), str) for name in ("role", "content")
    )

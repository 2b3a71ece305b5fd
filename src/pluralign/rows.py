"""Rows as files hold them: read them, take columns out, name the bad ones.

Everything here raises :class:`DataError` with the row numbers, so that a container
or a reader never has to word that message itself.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from .errors import DataError
from .rules import shown

_MAX_ROWS_SHOWN = 5


def read_jsonl(path: str | Path) -> list[dict[str, Any]]:
    """All objects of a JSON Lines file at once; see :func:`iter_jsonl`."""
    return list(iter_jsonl(path))


def iter_jsonl(path: str | Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSON Lines file (``.jsonl`` or ``.jsonl.gz``), one line in memory.

    Blank lines are skipped; a byte order mark at the start is accepted.

    Raises:
        DataError: naming the line, for text that is not UTF-8 or not a JSON object; or the
            file, if it cannot be read or its compressed data are broken.
        FileNotFoundError: if there is no such file.
    """
    source = str(path)
    for number, line in _numbered_lines(Path(path)):
        if not line.strip():
            continue
        try:
            row = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"line {number} is not JSON ({error}); mend or remove it.",
                source=source,
                rows=[number - 1],
            ) from error
        if not isinstance(row, dict):
            raise DataError(
                f"line {number} must be a JSON object; got {shown(row)}.",
                source=source,
                rows=[number - 1],
            )
        yield cast("dict[str, Any]", row)


def open_bytes(path: Path) -> IO[bytes]:
    """The bytes of a file, decompressed if its name ends in ``.gz``."""
    return cast("IO[bytes]", gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


@contextmanager
def reading(source: str) -> Generator[None]:
    """Turn what the system says about an unreadable file into a :class:`DataError`."""
    try:
        yield
    except FileNotFoundError:
        raise
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"the compressed data are cut off or broken ({error}); get the file again.",
            source=source,
        ) from error
    except OSError as error:
        raise DataError(
            f"cannot be read ({error.strerror or error}); check the file and its permissions.",
            source=source,
        ) from error


def _numbered_lines(path: Path) -> Generator[tuple[int, bytes]]:
    with reading(str(path)), open_bytes(path) as stream:
        yield from enumerate(stream, start=1)


@contextmanager
def renumbered(numbers: Sequence[int], size: int) -> Generator[None]:
    """Let a complaint about row ``i`` speak of row ``numbers[i]`` of a source of ``size`` rows."""
    try:
        yield
    except DataError as error:
        found = error
    else:
        return
    if not found.problems:
        raise found
    moved = [(numbers[row], what) for row, what in found.problems]
    raise_rows(moved, found.source, size, hint=found.hint)


def take_column(
    rows: Sequence[Mapping[str, Any]], name: str, source: str, *, required: bool = False
) -> list[Any] | None:
    """Values of one column; ``None`` if no row has it and it may be absent."""
    missing = [i for i, row in enumerate(rows) if row.get(name) is None]
    if len(missing) == len(rows) and not required:
        return None
    if missing:
        seen = sorted({str(key) for row in rows[:100] for key in row})
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
    except (TypeError, ValueError, OverflowError) as error:
        bad = [i for i, value in enumerate(values) if not _is_number(value)]
        detail = f"row {bad[0]} has {shown(values[bad[0]])}" if bad else str(error)
        raise DataError(
            f"{name} must hold numbers; {detail}.",
            source=source,
            rows=bad,
            problems=[(i, f"{name} must be a number; got {shown(values[i])}") for i in bad],
        ) from error
    if array.ndim != 1:
        raise DataError(
            f"{name} must have one value a pair; got shape {array.shape}.", source=source
        )
    return array


def flags(values: Any, name: str, source: str) -> NDArray[np.bool_]:
    """One column of booleans, shape ``(N,)``; a word such as ``"False"`` is none."""
    if isinstance(values, np.ndarray) and values.dtype == np.bool_:
        return values
    found = list(values)
    bad = [i for i, value in enumerate(found) if not isinstance(value, (bool, np.bool_))]
    problems = [(i, f"{name} must be true or false; got {shown(found[i])}") for i in bad]
    raise_rows(problems, source, len(found))
    return np.array(found, dtype=np.bool_)


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def frozen_text(text: Any) -> Any:
    """A conversation or token ids as a tuple, so that a container can be immutable."""
    return tuple(cast("list[Any]", text)) if isinstance(text, list) else text


def text_problem(text: object, *, empty_allowed: bool) -> str:
    """Why a value is no usable text; empty if it is one."""
    if isinstance(text, str):
        if not text.strip() and not empty_allowed:
            return "is blank"
        return _damage(text)
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
        if damage := _damage(turn["content"]) or _foreign(turn):
            return damage
    return ""


def _damage(text: str) -> str:
    """Why a string cannot come from an intact text file; empty if it can."""
    if "\0" in text:
        return f"contains a NUL character: {shown(text)}"
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        return f"is no valid Unicode (half of a surrogate pair): {shown(text)}"
    return ""


def _foreign(turn: Mapping[str, Any]) -> str:
    """Why a message with further fields could not be hashed and stored; empty if it can."""
    if len(turn) == 2:
        return ""
    try:
        json.dumps(dict(turn), sort_keys=True)
    except (TypeError, ValueError, RecursionError) as error:
        return f"has a message with a field that is no plain data ({error}): {shown(list(turn))}"
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
        problems=ordered,
        hint=hint,
    )

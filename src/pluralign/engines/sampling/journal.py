"""Candidates on disk, one line each, so that a run killed at any point goes on where it was."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any, final

from ...errors import DataError, ParameterError
from .base import Candidate

SYNC_EVERY = 32
"""Lines between two flushes to the disk itself; a killed process loses none, a power cut these."""


@final
class Journal:
    """An append-only JSONL file of finished candidates, keyed by request and sample number.

    Use it for sampling that costs money or hours. A line is ``{"key", "i", "candidate"}``; it
    holds no prompt, no server and no key of an account. A last line that was torn by a crash
    is dropped when the file is opened; failed candidates are never written, so that a later
    run asks for them again. One process at a time may hold a journal.

    Args:
        path: the file; made if absent, with its folder.

    Raises:
        DataError: for a line that is not one of a journal, with its number.
        ParameterError: if another process holds the journal.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "journal.jsonl"
        >>> with Journal(path) as journal:
        ...     journal.add("k", 0, Candidate(text="kept"))
        >>> with Journal(path) as journal:
        ...     journal.get("k", 0).text, journal.get("k", 1), len(journal)
        ('kept', None, 1)
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._guard = threading.Lock()
        self._unsynced = 0
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            _hold(self._file, self.path)
            self._kept = _read(self._file, self.path)
        except BaseException:
            os.close(self._file)
            raise

    def __len__(self) -> int:
        return len(self._kept)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def get(self, key: str, i: int) -> Candidate | None:
        """The candidate ``i`` of a request, or ``None`` if it is still to be drawn."""
        return self._kept.get((key, i))

    def add(self, key: str, i: int, candidate: Candidate) -> None:
        """Write a finished candidate; what failed or is there already is left out."""
        with self._guard:
            if not candidate.ok or (key, i) in self._kept:
                return
            row = {"key": key, "i": i, "candidate": candidate.to_json()}
            _append(self._file, json.dumps(row).encode() + b"\n")
            self._kept[key, i] = candidate
            self._unsynced += 1
            if self._unsynced >= SYNC_EVERY:
                self._sync()

    def sync(self) -> None:
        """Have the disk itself hold every line."""
        with self._guard:
            self._sync()

    def close(self) -> None:
        """Sync and let go of the file; closing twice is fine."""
        if self._file >= 0:
            self.sync()
            os.close(self._file)
            self._file = -1

    def _sync(self) -> None:
        if self._unsynced:
            os.fsync(self._file)
            self._unsynced = 0


def request_key(values: dict[str, Any]) -> str:
    """A name for a request by its content: 32 hexadecimal digits.

    Example:
        >>> request_key({"a": 1, "b": 2}) == request_key({"b": 2, "a": 1})
        True
    """
    text = json.dumps(values, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _append(file: int, line: bytes) -> None:
    # One write call: a process killed between two calls leaves whole lines.
    while line:
        line = line[os.write(file, line) :]


def _hold(file: int, path: Path) -> None:
    if sys.platform == "win32":
        return
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise ParameterError(
            f"the journal {path} is in use by another process; wait for it or take another file."
        ) from error


def _whole(line: bytes) -> bool:
    # A line is one object, so no part of it is JSON.
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _read(file: int, path: Path) -> dict[tuple[str, int], Candidate]:
    with os.fdopen(os.dup(file), "rb") as whole:
        text = whole.read()
    lines = text.split(b"\n")
    last = lines.pop()
    if last and _whole(last):
        _append(file, b"\n")
        lines.append(last)
    elif last:
        os.ftruncate(file, len(text) - len(last))
    kept: dict[tuple[str, int], Candidate] = {}
    for number, line in enumerate(lines):
        try:
            row = json.loads(line)
            kept.setdefault((row["key"], row["i"]), Candidate.from_json(row["candidate"]))
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"line {number + 1} is not one of a journal; take another file or remove the line.",
                source=str(path),
                rows=[number],
            ) from error
    return kept

"""JSON lines on disk that survive a kill: whole batches, flushed, a torn end dropped."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast, final

from ...errors import DataError, ParameterError


@final
class Lines:
    """An append-only JSONL file of finished work; one process at a time may hold it.

    A killed process loses at most what it was appending: the lines of a batch go out in one
    write and are on the disk before :meth:`append` returns, and a last line that was torn is
    dropped when the file is opened again.

    Args:
        path: the file; made if absent, with its folder.

    Raises:
        DataError: for a line that is no JSON object, with its number.
        ParameterError: if another process holds the file.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "lines.jsonl"
        >>> with Lines(path) as lines:
        ...     lines.append([{"prompt": 0}])
        >>> _ = path.write_text(path.read_text() + '{"prom')
        >>> with Lines(path) as lines:
        ...     lines.rows
        [{'prompt': 0}]
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            _hold(self._file, self.path)
            self.rows = self._read()
        except BaseException:
            os.close(self._file)
            raise

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def append(self, rows: Sequence[dict[str, Any]]) -> None:
        """Write rows and have the disk itself hold them."""
        text = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows).encode()
        while text:
            text = text[os.write(self._file, text) :]
        os.fsync(self._file)
        self.rows += rows

    def _read(self) -> list[dict[str, Any]]:
        *lines, last = self.path.read_bytes().split(b"\n")
        if last:
            os.ftruncate(self._file, sum(len(line) + 1 for line in lines))
        return [self._row(line, number) for number, line in enumerate(lines)]

    def _row(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise DataError(
                f"line {number + 1} is not what this program writes; remove the file or name "
                "another.",
                source=str(self.path),
                rows=[number],
            )
        return cast("dict[str, Any]", row)


def _hold(file: int, path: Path) -> None:
    if sys.platform == "win32":
        return
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise ParameterError(
            f"{path} is in use by another process; wait for it or name another output."
        ) from error

"""Write files whole or not at all: a temporary name beside the target, then a rename."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def replacing(target: str | Path) -> Generator[Path]:
    """A temporary path that becomes ``target`` if the block succeeds, else vanishes.

    The block may write a file or make a directory there; a directory at ``target`` is
    replaced. Missing parent directories are made.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with replacing(Path(folder) / "a.txt") as part:
        ...         _ = part.write_text("whole")
        ...     (Path(folder) / "a.txt").read_text()
        'whole'
    """
    path = Path(target)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as scratch:
        part = Path(scratch) / path.name
        yield part
        if path.is_dir() and part.is_dir():
            shutil.rmtree(path)
        os.replace(part, path)


def write_text(target: str | Path, text: str) -> Path:
    """Write a text file in UTF-8, whole or not at all."""
    with replacing(target) as part:
        part.write_text(text, encoding="utf-8")
    return Path(target)


def write_json(target: str | Path, value: Any) -> Path:
    """Write a value as JSON; NaN and infinity are refused."""
    return write_text(
        target, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    )

"""Data sets of the Hugging Face hub: only by name, only when downloads are allowed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

from ..errors import DataError

_NAME = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+)?")


def is_hub_name(text: str) -> bool:
    """Whether a text has the form ``owner/name`` or ``owner/name:configuration``."""
    return _NAME.fullmatch(text) is not None


def fetched(name: str, *, streaming: bool) -> Any:
    """All splits of a data set of the hub; scripts of a repository are never run.

    Args:
        name: ``owner/name``, with ``:configuration`` where it has several.
        streaming: read over the network as rows are asked for, and store nothing.

    Raises:
        DataError: if the data set cannot be had, naming it, why, and what to do.
        ImportError: if ``datasets`` is not installed.
    """
    try:
        import datasets
    except ImportError as error:
        raise ImportError(f"{name} needs datasets; pip install 'pluralign[language]'") from error
    path, _, configuration = name.partition(":")
    try:
        found = datasets.load_dataset(path, configuration or None, streaming=streaming)
    except Exception as error:  # of the network, the hub, a cache or a parser: all get through
        raise _lost(error, name) from error
    if not isinstance(found, Mapping):
        raise DataError("the hub gave no splits; name a configuration.", source=name)
    return cast("Mapping[str, Any]", found)


def rows_of(split: Any, name: str) -> Iterator[Any]:
    """Rows of a split; what fails while they are fetched names the data set.

    Raises:
        DataError: if a later part cannot be had.
    """
    try:
        yield from split.with_format(None)
    except Exception as error:
        raise _lost(error, name) from error


def _lost(error: Exception, name: str) -> DataError:
    detail = " ".join(str(error).split())[:300] or type(error).__name__
    return DataError(f"cannot be had from the hub: {_advice()} ({detail}).", source=name)


def _advice() -> str:
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        return (
            "HF_HUB_OFFLINE is set, so only data sets that are stored already can be read; unset "
            "it to download"
        )
    return "check the name, the configuration (owner/name:configuration) and the network"

"""Data sets of the Hugging Face hub: only by name, only when downloads are allowed."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
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
    # The library lets errors of the network, the hub, its cache and its parsers through.
    except Exception as error:
        detail = " ".join(str(error).split())[:300] or type(error).__name__
        raise DataError(
            f"cannot be had from the hub: {_advice()} ({detail}).", source=name
        ) from error
    if not isinstance(found, Mapping):
        raise DataError("the hub gave no splits; name a configuration.", source=name)
    return cast("Mapping[str, Any]", found)


def _advice() -> str:
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        return (
            "HF_HUB_OFFLINE is set, so only data sets that are stored already can be read; unset "
            "it to download"
        )
    return "check the name, the configuration (owner/name:configuration) and the network"

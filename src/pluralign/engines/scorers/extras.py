"""Optional packages of the scorers: imported when needed, missing in one voice."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any


def needed(module: str, package: str, owner: str) -> Any:
    """An optional module.

    Args:
        module: name to import.
        package: name to install.
        owner: what needs it, for the message.

    Raises:
        ImportError: naming the extra that brings the package.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise _missing(package, owner) from error


def package_folder(module: str, package: str, owner: str) -> Path:
    """Where an installed package lies; its code is not run.

    Raises:
        ImportError: naming the extra that brings the package.
    """
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise _missing(package, owner)
    return Path(spec.origin).parent


def _missing(package: str, owner: str) -> ImportError:
    return ImportError(
        f"{owner} needs the package {package}; install it with: pip install 'pluralign[steer]'"
    )

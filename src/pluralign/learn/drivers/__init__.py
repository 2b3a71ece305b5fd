"""What drives a graded choice: screened columns and a sparse multinomial regression.

Names are imported when first used: the path itself needs no scikit-learn.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "Assessment": "assessment",
    "ChoiceDrivers": "estimator",
    "Driver": "listing",
    "DriverReport": "report",
    "MultinomialLasso": "path",
    "Path": "path",
    "assess": "assessment",
    "driver_report": "report",
    "quantile_classes": "outcomes",
    "screen": "screening",
    "selection_frequencies": "stability",
    "share_classes": "outcomes",
}

__all__ = [*_HOME]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

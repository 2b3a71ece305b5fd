"""Whole experiments: recipes, the pipeline that runs them, audits of given models."""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "Recipe": "recipe",
    "RunResult": "results",
    "audit_pairs": "auditing",
    "load_named": "loading",
    "load_recipe": "recipe",
    "run_recipe": "pipeline",
}

__all__ = [*_HOME]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    # Lazy, so that a recipe can be looked at before anything heavy is imported.
    if name in _HOME:
        return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""Training loops, one file for each host framework.

Names are imported when first used: settings and token ids need neither torch nor
transformers.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "DependenceRegularisedClassifier": "tabular",
    "DependenceRegularisedRegressor": "tabular",
    "PreferenceTrainer": "language",
    "RewardTrainer": "rewards",
    "SFTTrainer": "imitation",
    "TokenPairs": "tokenise",
    "TrainingConfig": "config",
    "precompute": "references",
    "score_pairs": "scoring",
    "tiny_model": "scratch",
    "tokenise_pairs": "tokenise",
    "train_tokenizer": "scratch",
}

__all__ = [*_HOME]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

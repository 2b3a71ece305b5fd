"""Preference learning that does not stop at the average.

One loop: collect, learn, steer, audit, decide. Importing this package loads neither
torch nor transformers; names are imported when first used.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "Preferences": "data",
    "PairScores": "scores",
    "ScoredPairs": "data",
    "TokenBatch": "scores",
    "ParameterError": "errors",
    "DataError": "errors",
    "IncompatibleError": "errors",
    "DataQualityWarning": "errors",
    "ProvisionalWarning": "errors",
    **dict.fromkeys(
        (
            "DPO",
            "CDPO",
            "IPO",
            "SLiC",
            "SimPO",
            "CPO",
            "RDPO",
            "RobustPlackettLuce",
            "BradleyTerry",
        ),
        "objectives",
    ),
    **dict.fromkeys(("load_preferences", "make_text_world", "train_eval_split"), "datasets"),
    **dict.fromkeys(("GroupFrame", "flip_rate", "ranking_accuracy", "write_report"), "audit"),
    **dict.fromkeys(
        ("PreferenceTrainer", "RewardTrainer", "SFTTrainer", "TrainingConfig"), "learn"
    ),
    "DirectionalSelection": "steer",
    "PromptTemplate": "engines.sampling",
}
_PACKAGES = (
    "objectives",
    "engines",
    "datasets",
    "collect",
    "learn",
    "steer",
    "audit",
    "decide",
)

__all__ = [  # pyright: ignore[reportUnsupportedDunderAll]
    "__version__",
    *_HOME,
    *_PACKAGES,
]


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return importlib.import_module(f".{name}", __name__)
    if name in _HOME:
        return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

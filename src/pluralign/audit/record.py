"""From scored pairs to the record that a run keeps in ``audit.json``.

Everything in it is a plain value: the report draws it, ``--json`` prints it, and a
later audit can be compared with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data import ScoredPairs
from ..errors import DataError
from ..rules import nearest
from .distributions import distributions
from .groups import GroupFrame, compare
from .ranking import implicit_margin, ranking_accuracy, reward_accuracy
from .ranking_report import ranking_report

Metric = Callable[[ScoredPairs], NDArray[np.float64]]


def audit_models(
    scored: Mapping[str, ScoredPairs],
    *,
    by: str = "group",
    confidence: float = 0.95,
    n_bootstrap: int = 2000,
    seed: int = 0,
    checkpoints: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """Frames and summaries of several models on the same pairs, and paired differences.

    Args:
        scored: pairs scored by each model, by the name of the model; the first is the
            one that the others were tuned from, or simply the first.
        by: column to slice by.
        confidence: level of the intervals.
        n_bootstrap: bootstrap draws.
        seed: seed of the draws.
        checkpoints: by the name of a model, what ``winning.checkpoint_record`` gave for the
            checkpoints of its training.

    Returns:
        ``{"models": [...], "comparisons": [...]}`` of plain values; each model has
        ``frames``, ``summary`` and ``distributions``, and ``checkpoints`` where given.

    Raises:
        DataError: if checkpoints are given for a model that is not among them.
        IncompatibleError: if the models were scored on different pairs.
    """
    unknown = sorted(set(checkpoints or {}) - set(scored))
    if unknown:
        raise DataError(f"there are checkpoints of {unknown[0]!r}; {nearest(unknown[0], scored)}")
    options: dict[str, Any] = {
        "by": by,
        "confidence": confidence,
        "n_bootstrap": n_bootstrap,
        "seed": seed,
    }
    behind = distributions(scored, **options)
    models = [
        {
            "name": name,
            "frames": {
                key: GroupFrame(metric, pairs, **options).to_json()
                for key, metric in _metrics(pairs).items()
            },
            "summary": ranking_report(pairs, beta=pairs.beta),
            "distributions": behind[name],
            **({"checkpoints": checkpoints[name]} if checkpoints and name in checkpoints else {}),
        }
        for name, pairs in scored.items()
    ]
    comparisons = [
        {
            "a": after,
            "b": before,
            "metric": "ranking_accuracy",
            "frame": compare(ranking_accuracy, scored[after], scored[before], **options).to_json(),
        }
        for before, after in combinations(scored, 2)
    ]
    return {"models": models, "comparisons": comparisons}


def _metrics(pairs: ScoredPairs) -> dict[str, Metric]:
    metrics: dict[str, Metric] = {"ranking_accuracy": ranking_accuracy}
    if pairs.chosen_length is not None:
        metrics["ranking_accuracy_normalised"] = partial(ranking_accuracy, normalise="token_mean")
    if pairs.ref_chosen is not None:
        metrics["reward_accuracy"] = reward_accuracy
        metrics["margin"] = implicit_margin
    return metrics

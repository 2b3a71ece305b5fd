"""How ranking accuracy and win rate move together over the checkpoints of a training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..data import ScoredPairs
from ..errors import DataError, IncompatibleError
from ..rules import shown
from .intervals import Floats
from .ranking import ranking_accuracy


def win_rate_relation(
    accuracy: ArrayLike, win_rate: ArrayLike
) -> dict[str, dict[str, float | None]]:
    """Correlation of ranking accuracy with win rate, overall and on each side of its peak.

    Use it to choose a checkpoint: while the policy is near its reference both rise; past
    the peak of the win rate, ranking accuracy may rise while the win rate falls.

    Args:
        accuracy: ``(T,)`` ranking accuracy by checkpoint, in training order, T >= 2.
        win_rate: ``(T,)`` win rate against the reference.

    Returns:
        For ``"all"``, ``"to_peak"`` (with the peak) and ``"after_peak"`` (with the peak)
        ``{"pearson", "spearman", "n"}``; ``None`` where a part has fewer than 3 points or
        does not vary.

    Raises:
        DataError: if the lengths differ or a value is not finite.

    Example:
        >>> found = win_rate_relation([0.5, 0.6, 0.7, 0.8, 0.9], [0.5, 0.6, 0.7, 0.6, 0.5])
        >>> round(found["to_peak"]["pearson"], 3), round(found["after_peak"]["pearson"], 3)
        (1.0, -1.0)

    References:
        Chen et al., 2024, arXiv 2405.19534, section 5.
    """
    right = np.asarray(accuracy, dtype=np.float64)
    wins = np.asarray(win_rate, dtype=np.float64)
    if right.shape != wins.shape or right.ndim != 1 or len(right) < 2:
        raise DataError(
            "accuracy and win_rate must be two lists of one length >= 2; got shapes "
            f"{right.shape} and {wins.shape}."
        )
    if not (np.isfinite(right) & np.isfinite(wins)).all():
        raise DataError("accuracy and win_rate must be finite; drop the checkpoint.")
    peak = int(wins.argmax())
    parts = {
        "all": slice(None),
        "to_peak": slice(0, peak + 1),
        "after_peak": slice(peak, None),
    }
    return {name: _correlations(right[part], wins[part]) for name, part in parts.items()}


def checkpoint_record(
    scored: Mapping[int, ScoredPairs], win_rate: Mapping[int, float]
) -> dict[str, Any]:
    """Ranking accuracy and win rate of the checkpoints of a training, as a run records them.

    Put it under ``"checkpoints"`` of the model in an audit record (or give it to
    ``audit_models``) and the report draws both curves and says how they move together.
    A win rate is not in the scores of pairs: it is the share of prompts whose answer by the
    checkpoint a judge prefers to the answer of the reference. Where it was measured for some
    checkpoints only, the others show their ranking accuracy alone.

    Args:
        scored: one set of pairs scored at each checkpoint, by step.
        win_rate: win rate against the reference by step, in [0, 1]; for two steps at least.

    Returns:
        ``{"points": [{"step", "ranking_accuracy", "n", "win_rate"}], "relation": {...}}`` in
        order of steps; ``win_rate`` is ``None`` where not measured, ``relation`` is that of
        :func:`win_rate_relation`.

    Raises:
        DataError: if fewer than two checkpoints have both, a win rate is not a share, or a
            step has a win rate and no scores.
        IncompatibleError: if the checkpoints were scored on different pairs.

    Example:
        >>> from pluralign import Preferences
        >>> pairs = Preferences(prompt=["p"] * 2, chosen=["a"] * 2, rejected=["b"] * 2)
        >>> scored = {
        ...     step: ScoredPairs(pairs, chosen=[-1.0, -9.0 + step], rejected=[-5.0, -5.0])
        ...     for step in (0, 10)
        ... }
        >>> record = checkpoint_record(scored, {0: 0.5, 10: 0.7})
        >>> [(point["ranking_accuracy"], point["win_rate"]) for point in record["points"]]
        [(0.5, 0.5), (1.0, 0.7)]
    """
    strange = sorted(set(win_rate) - set(scored))
    if strange:
        raise DataError(f"there are win rates but no scores for steps {shown(strange[:5])}.")
    wrong = {step: rate for step, rate in win_rate.items() if not 0 <= rate <= 1}
    if wrong:
        raise DataError(f"win rates must be in [0, 1], by step; got {shown(wrong)}.")
    _demand_same_pairs(scored)
    points = [_point(step, scored[step], win_rate.get(step)) for step in sorted(scored)]
    both = [point for point in points if point["win_rate"] is not None]
    relation = win_rate_relation(
        [point["ranking_accuracy"] for point in both], [point["win_rate"] for point in both]
    )
    return {"points": points, "relation": relation}


def _demand_same_pairs(scored: Mapping[int, ScoredPairs]) -> None:
    known = {step: set(pairs.pairs.pair_id) for step, pairs in scored.items()}
    first = next(iter(known), None)
    for step, ids in known.items():
        if first is not None and ids != known[first]:
            raise IncompatibleError(
                f"the checkpoints of steps {first} and {step} were not scored on the same pairs "
                f"({len(ids ^ known[first])} have no partner); score all on one set."
            )


def _point(step: int, scored: ScoredPairs, win_rate: float | None) -> dict[str, Any]:
    right = ranking_accuracy(scored)
    weights = scored.pairs.weight
    used = np.isfinite(right) if weights is None else np.isfinite(right) & (weights > 0)
    if not used.any():
        raise DataError(f"step {step} has no pair with finite scores and a weight above zero.")
    value = np.average(right[used], weights=None if weights is None else weights[used])
    return {
        "step": step,
        "ranking_accuracy": float(value),
        "n": int(used.sum()),
        "win_rate": None if win_rate is None else float(win_rate),
    }


def _correlations(first: Floats, second: Floats) -> dict[str, float | None]:
    from scipy.stats import rankdata

    ranked = rankdata(first), rankdata(second)
    return {
        "pearson": _pearson(first, second),
        "spearman": _pearson(*ranked),
        "n": len(first),
    }


def _pearson(first: Floats, second: Floats) -> float | None:
    if len(first) < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(np.corrcoef(first, second)[0, 1])

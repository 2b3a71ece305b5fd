"""How ranking accuracy and win rate move together over the checkpoints of a training."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..errors import DataError
from .intervals import Floats


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

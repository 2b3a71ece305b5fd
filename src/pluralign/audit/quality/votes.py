"""Several judgements of one pair: agreement, and how much noise their conflicts admit."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from .findings import Finding
from .ledger import Ledger
from .sketch import mix

Counts = NDArray[np.int64]
Statistic = Callable[[NDArray[Any], NDArray[np.float64]], NDArray[np.float64]]

TIE = 2
_DRAWS = 2000
_RELIABLE = 0.667


def items(ledger: Ledger) -> NDArray[np.uint64]:
    """Key ``(N,)`` of prompt and both responses, whichever was chosen."""
    chosen, rejected = ledger.exact[:, 1], ledger.exact[:, 2]
    return mix(ledger.exact[:, 0], np.minimum(chosen, rejected), np.maximum(chosen, rejected))


def votes(ledger: Ledger) -> NDArray[np.int64]:
    """Which response of its pair each row prefers: 0 or 1 by hash, 2 for a tie ``(N,)``."""
    second = ledger.exact[:, 1] > ledger.exact[:, 2]
    vote = np.where(ledger.label_prob < 0.5, ~second, second).astype(np.int64)
    return np.where(ledger.label_prob == 0.5, TIE, vote)


def vote_counts(unit: NDArray[Any], vote: NDArray[np.int64]) -> Counts:
    """How often each unit got each of the three values ``(U, 3)``, units by rising key."""
    keys, code = np.unique(unit, return_inverse=True)
    flat = np.bincount(code * 3 + vote, minlength=3 * len(keys))
    return flat.reshape(len(keys), 3)


def krippendorff_alpha(counts: Any) -> float:
    """Krippendorff's alpha for nominal values, any number of raters, missing values allowed.

    Use it when several people judged the same items; not for a single rater who repeats
    himself. With ``n_uc`` raters of unit ``u`` who said ``c``, ``m_u = sum_c n_uc >= 2``,
    ``n = sum_u m_u`` and ``n_c = sum_u n_uc``::

        alpha = 1 - (n - 1) sum_u (m_u^2 - sum_c n_uc^2) / (m_u - 1) / (n^2 - sum_c n_c^2)

    Args:
        counts: ``(U, C)`` non-negative integers; units with fewer than 2 values are left out.

    Returns:
        1 for perfect agreement, 0 for chance, below 0 for systematic disagreement; NaN if
        no unit has two values, or only one value occurs.

    Raises:
        DataError: if the counts are no table.

    Example:
        >>> round(krippendorff_alpha([[2, 0], [2, 0], [1, 1], [0, 2]]), 3)
        0.533

    References:
        Krippendorff (2011), Computing Krippendorff's alpha-reliability.
    """
    table = np.asarray(counts)
    if table.ndim != 2:
        raise DataError(f"counts must be a table (units, values); got shape {table.shape}.")
    return float(_alpha(table, np.ones((1, len(table))))[0])


def bootstrap(
    counts: Counts, statistic: Statistic, confidence: float, seed: int
) -> dict[str, float]:
    """A statistic of units with its percentile interval, units drawn with replacement.

    Units with equal counts are drawn together, so that the cost does not grow with them.
    """
    kinds, times = np.unique(counts, axis=0, return_counts=True)
    total = int(times.sum())
    value = float(statistic(kinds, times[None, :].astype(np.float64))[0])
    if not math.isfinite(value):
        return {"value": math.nan, "low": math.nan, "high": math.nan, "n": total}
    drawn = np.random.default_rng(seed).multinomial(total, times / total, size=_DRAWS)
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(statistic(kinds, drawn.astype(np.float64)), [tail, 1 - tail])
    return {"value": value, "low": float(low), "high": float(high), "n": total}


def agreement_findings(ledger: Ledger, confidence: float, seed: int) -> list[Finding]:
    """Krippendorff's alpha over all and in each group, where people judged the same pairs."""
    keep = _first_votes(ledger)
    unit, vote = items(ledger)[keep], votes(ledger)[keep]
    overall = _judged_twice(vote_counts(unit, vote))
    if not len(overall):
        return []
    groups: list[dict[str, Any]] = []
    for name, member in ledger.members():
        table = _judged_twice(vote_counts(unit[member[keep]], vote[member[keep]]))
        if len(table):
            groups.append({"name": name, **bootstrap(table, _alpha, confidence, seed)})
    alpha = bootstrap(overall, _alpha, confidence, seed)
    people = len(np.unique(ledger.annotator[keep]))
    what = (
        f"{people} annotators judged {len(overall):,} pairs together; Krippendorff's alpha is "
        f"{_interval(alpha)}"
    )
    if len(groups) > 1:
        worst = min(groups, key=lambda g: _or(g["value"], math.inf))
        what += f", lowest in {worst['name']}: {_interval(worst)}"
    low = _or(alpha["value"], 1.0) < _RELIABLE
    return [
        Finding(
            "agreement",
            "warning" if low else "note",
            f"{what}.",
            len(overall),
            data={"overall": alpha, "groups": groups, "annotators": people},
        )
    ]


def _alpha(kinds: NDArray[Any], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Alpha ``(B,)`` of tables that hold ``kinds`` ``(K, C)`` ``weights`` ``(B, K)`` times."""
    size = kinds.sum(axis=1)
    kinds, weights, size = kinds[size > 1], weights[:, size > 1], size[size > 1]
    within = (size**2 - (kinds**2).sum(axis=1)) / (size - 1)
    values = weights @ kinds
    n = values.sum(axis=1)
    between = n**2 - (values**2).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(between > 0, 1 - (n - 1) * (weights @ within) / between, np.nan)


def _first_votes(ledger: Ledger) -> NDArray[np.int64]:
    """Rows of the first vote that each annotator gave on each pair, rising."""
    known = np.flatnonzero(ledger.annotator >= 0)
    key = mix(items(ledger)[known], ledger.annotator[known].astype(np.uint64))
    return np.sort(known[np.unique(key, return_index=True)[1]])


def _judged_twice(counts: Counts) -> Counts:
    return counts[counts.sum(axis=1) > 1]


def _interval(found: dict[str, Any]) -> str:
    if math.isnan(found["value"]):
        return "undefined, as only one answer occurs"
    return f"{found['value']:.2f} [{found['low']:.2f}, {found['high']:.2f}]"


def _or(value: float, default: float) -> float:
    return default if math.isnan(value) else value

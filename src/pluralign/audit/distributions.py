"""What lies behind the means: distributions, drift, length and calibration, by group.

Counts, quantiles and intervals only, never a row: the record may be shown where the data
may not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from ..data import ScoredPairs
from .difficulty import flip_threshold
from .frames import group_labels, numbered
from .groups import GroupFrame
from .intervals import Floats, wilson
from .ranking import (
    implicit_margin,
    ranking_accuracy,
    reference_deficit,
    response_scores,
    reward_accuracy,
)

QUANTILES: Final = {"p05": 0.05, "p25": 0.25, "median": 0.5, "p75": 0.75, "p95": 0.95}

DRIFT_ALARM: Final = 0.25
"""Fall of the chosen log-probability, as a share of what it was, from which on to look."""

LENGTH_CLASSES: Final = (
    ("less than half as long", 0.0, 0.5),
    ("shorter", 0.5, 0.8),
    ("about as long", 0.8, 1.25),
    ("longer", 1.25, 2.0),
    ("more than twice as long", 2.0, np.inf),
)
"""Chosen over rejected length, in tokens; each class holds its lower end."""

_DRIFT_DRAWS = 500  # more would double the time of an audit for a third digit
_N_BINS = 40
_N_LEVELS = 10
_DIFFICULTY_STEP = np.log(2.0) / 10


@final
@dataclass(frozen=True, kw_only=True)
class _Options:
    by: str
    confidence: float
    n_bootstrap: int
    seed: int

    def frame(self, metric: Any, pairs: ScoredPairs) -> dict[str, Any]:
        frame = GroupFrame(
            metric,
            pairs,
            by=self.by,
            confidence=self.confidence,
            n_bootstrap=min(self.n_bootstrap, _DRIFT_DRAWS),
            seed=self.seed,
        )
        return frame.to_json()


def distributions(
    scored: Mapping[str, ScoredPairs],
    *,
    by: str = "group",
    confidence: float = 0.95,
    n_bootstrap: int = 2000,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """Distributions behind the figures of an audit, for several models on the same pairs.

    Use it beside :class:`~pluralign.audit.groups.GroupFrame`: a mean says nothing of how
    clear the ranking is, what it owes to length, or whether the rewards know what they do
    not know. Bins are the same for all models, so that their histograms can be laid over
    one another. Pairs count alike, whatever their weight.

    Args:
        scored: pairs scored by each model, by the name of the model.
        by: column to slice by.
        confidence: level of the intervals, in (0, 1).
        n_bootstrap: bootstrap draws for the means of the drift.
        seed: seed of the draws.

    Returns:
        For each model plain values, a part being ``None`` where the scores do not allow it:

        - ``log_ratio``: chosen minus rejected score (nats), as ``{"edges", "overall",
          "groups"}`` with ``{"name", "n", "counts", "below", "above", "quantiles"}`` each;
          zero is an edge, pairs at or above it are ranked rightly.
        - ``difficulty``: flip thresholds (nats) of the reference, likewise; from log 2 on
          the reference ranks the pair rightly. Needs a reference and beta.
        - ``drift``: frames ``chosen`` and ``rejected`` of the change against the reference,
          ``both_fell`` (share of pairs), ``relative`` (change of the chosen mean over its
          size before), ``threshold``, ``alarm``, ``alarmed`` (groups).
        - ``length``: ``classes`` of chosen over rejected length with the accuracy in each,
          ``labels_longer`` and ``model_longer`` (share of unequal pairs in which the longer
          response wins), each with its interval.
        - ``calibration``: ``levels`` of claimed probability with the share of labels that
          agree, ``overall`` and ``groups`` likewise, ``error`` (expected calibration error).

    Raises:
        DataError: if there is no column ``by``, or the scores are not usable.

    Example:
        >>> from pluralign import Preferences, ScoredPairs
        >>> rows = [dict(prompt="p", chosen="a", rejected="b", group=g) for g in "xxy"]
        >>> pairs = ScoredPairs(Preferences.from_records(rows), chosen=[-3.0, -5.0, -4.0],
        ...     rejected=[-4.0, -4.0, -6.0])
        >>> found = distributions({"start": pairs})["start"]
        >>> found["log_ratio"]["overall"]["quantiles"]["median"], found["drift"]
        (1.0, None)

    References:
        Chen et al., 2024, arXiv 2405.19534 (flip thresholds). Drift alarm: ours.
    """
    options = _Options(by=by, confidence=confidence, n_bootstrap=n_bootstrap, seed=seed)
    log_ratios = {name: _log_ratio(pairs) for name, pairs in scored.items()}
    edges = _symmetric_edges(np.concatenate(list(log_ratios.values())))
    return {
        name: {
            "by": by,
            "confidence": confidence,
            "log_ratio": _distribution(log_ratios[name], edges, pairs, by),
            "difficulty": _difficulty(pairs, by),
            "drift": _drift(pairs, options),
            "length": _length(pairs, confidence),
            "calibration": _calibration(pairs, by, confidence),
        }
        for name, pairs in scored.items()
    }


def _log_ratio(scored: ScoredPairs) -> Floats:
    chosen, rejected = response_scores(scored)
    return chosen - rejected


def _has_reference(scored: ScoredPairs) -> bool:
    known = scored.ref_chosen is not None and scored.ref_rejected is not None
    return known and scored.kind != "reward"


def _groups(scored: ScoredPairs, by: str) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Name and rows of each group, the largest first."""
    names, index = numbered(group_labels(scored.pairs, by))
    sizes = np.bincount(index)
    for place in np.argsort(-sizes, kind="stable").tolist():
        yield names[place], index == place


def _symmetric_edges(values: Floats) -> Floats:
    """Equal bins around zero that hold 98 % of all values."""
    finite = np.abs(values[np.isfinite(values)])
    reach = float(np.quantile(finite, 0.98)) if len(finite) else 0.0
    return np.linspace(-1.0, 1.0, _N_BINS + 1) * (reach or 1.0)


def _distribution(values: Floats, edges: Floats, scored: ScoredPairs, by: str) -> dict[str, Any]:
    groups = [_binned(name, values[rows], edges) for name, rows in _groups(scored, by)]
    return {
        "edges": edges.tolist(),
        "overall": _binned("all", values, edges),
        "groups": groups,
    }


def _binned(name: str, values: Floats, edges: Floats) -> dict[str, Any]:
    known = values[np.isfinite(values)]
    found = np.quantile(known, list(QUANTILES.values())).tolist() if len(known) else []
    # The last bin of numpy's histogram would hold its upper end; here that is above.
    inside = known[known < edges[-1]]
    return {
        "name": name,
        "n": len(known),
        "counts": np.histogram(inside, edges)[0].tolist(),
        "below": int((known < edges[0]).sum()),
        "above": int((known >= edges[-1]).sum()),
        "quantiles": dict(zip(QUANTILES, found, strict=True)) if found else None,
    }


def _difficulty(scored: ScoredPairs, by: str) -> dict[str, Any] | None:
    """Flip thresholds on fixed bins, of which log 2 is an edge."""
    if not _has_reference(scored) or scored.beta is None:
        return None
    deficit = reference_deficit(scored)
    known = np.isfinite(deficit)
    needed = flip_threshold(np.where(known, deficit, 0.0), scored.beta)
    edges = np.arange(21) * _DIFFICULTY_STEP
    return _distribution(np.where(known, needed, np.nan), edges, scored, by)


def _drift(scored: ScoredPairs, options: _Options) -> dict[str, Any] | None:
    """Change of both log-probabilities, and whether the chosen one fell far."""
    if not _has_reference(scored):
        return None
    before = response_scores(scored, reference=True)
    changes = [now - was for now, was in zip(response_scores(scored), before, strict=True)]
    known = np.isfinite(changes[0]) & np.isfinite(changes[1])
    if not known.any():
        return None

    def chosen_change(_: ScoredPairs) -> Floats:
        return np.where(known, changes[0], np.nan)

    def rejected_change(_: ScoredPairs) -> Floats:
        return np.where(known, changes[1], np.nan)

    relative = {
        name: _relative(changes[0], before[0], rows & known)
        for name, rows in _groups(scored, options.by)
    }
    overall = _relative(changes[0], before[0], known)
    alarmed = [name for name, fall in relative.items() if _far(fall)]
    return {
        "chosen": options.frame(chosen_change, scored),
        "rejected": options.frame(rejected_change, scored),
        "both_fell": float(((changes[0] < 0) & (changes[1] < 0))[known].mean()),
        "relative": {"overall": overall, "groups": relative},
        "threshold": -DRIFT_ALARM,
        "alarm": _far(overall) or bool(alarmed),
        "alarmed": alarmed,
    }


def _relative(change: Floats, before: Floats, rows: NDArray[np.bool_]) -> float | None:
    """Mean change as a share of the size of the mean before; ``None`` where that is zero."""
    size = abs(float(before[rows].mean())) if rows.any() else 0.0
    return float(change[rows].mean()) / size if size > 0 else None


def _far(relative: float | None) -> bool:
    return relative is not None and relative < -DRIFT_ALARM


def _length(scored: ScoredPairs, confidence: float) -> dict[str, Any] | None:
    """Accuracy by relative length, and how often the longer response wins."""
    if scored.chosen_length is None or scored.rejected_length is None:
        return None
    right = reward_accuracy(scored) if scored.kind == "reward" else ranking_accuracy(scored)
    ratio = scored.chosen_length / scored.rejected_length
    known = np.isfinite(right)
    unequal = (ratio != 1) & known
    longer = ratio > 1
    return {
        "classes": [
            {
                "name": name,
                "low_ratio": low,
                "high_ratio": None if np.isinf(high) else high,
                **_share(right[known & (ratio >= low) & (ratio < high)], confidence),
            }
            for name, low, high in LENGTH_CLASSES
        ],
        "labels_longer": _share(longer[unequal].astype(np.float64), confidence),
        "model_longer": _share(np.where(longer, right, 1 - right)[unequal], confidence),
    }


def _share(values: Floats, confidence: float) -> dict[str, Any]:
    """Mean of values in [0, 1] with Wilson's interval."""
    n = len(values)
    if not n:
        return {"n": 0, "value": None, "low": None, "high": None}
    low, high = wilson(float(values.sum()), n, confidence)
    return {"n": n, "value": float(values.mean()), "low": low, "high": high}


def _calibration(scored: ScoredPairs, by: str, confidence: float) -> dict[str, Any] | None:
    """What the rewards claim, ``sigmoid(beta * margin)``, against how often labels agree."""
    if scored.kind != "reward" and (not _has_reference(scored) or scored.beta is None):
        return None
    scale = 1.0 if scored.beta is None else scored.beta
    margin = scale * implicit_margin(scored)
    known = np.isfinite(margin)
    margin = np.where(known, margin, 0.0)
    alpha = scored.pairs.label_prob
    label = np.ones(len(margin)) if alpha is None else alpha
    agrees = np.where(margin > 0, label, np.where(margin < 0, 1 - label, 0.5))
    claimed = np.exp(-np.logaddexp(0.0, -np.abs(margin)))
    return _reliability(claimed, agrees, known, dict(_groups(scored, by)), confidence)


def _reliability(
    claimed: Floats,
    agrees: Floats,
    known: NDArray[np.bool_],
    groups: Mapping[str, NDArray[np.bool_]],
    confidence: float,
) -> dict[str, Any]:
    ends = np.linspace(0.5, 1.0, _N_LEVELS + 1)
    place = np.minimum(np.searchsorted(ends, claimed, side="right") - 1, _N_LEVELS - 1)

    def told(rows: NDArray[np.bool_]) -> dict[str, Any]:
        kept = rows & known
        mean = float(claimed[kept].mean()) if kept.any() else None
        return {"claimed": mean, **_share(agrees[kept], confidence)}

    levels = [
        {"from": low, "to": high, **told(place == number)}
        for number, (low, high) in enumerate(pairwise(ends.tolist()))
    ]
    total = int(known.sum())
    apart = [level["n"] * abs(level["claimed"] - level["value"]) for level in levels if level["n"]]
    return {
        "levels": levels,
        "overall": told(known),
        "groups": [{"name": name, **told(rows)} for name, rows in groups.items()],
        "error": sum(apart) / total if total else None,
    }

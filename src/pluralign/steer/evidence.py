"""Figures of a comparison: paired differences, wins, which neighbours were better and chosen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .pool import Bools
from .record import Selection
from .sphere import Floats, angle_of

Pair = tuple[Selection, Selection]

_CHUNK = 200
_ONE_SIDE_SHARE = 0.9
_ONE_SIDE_LEAST = 5
_BIN_DEG = 5.0


class Bootstrap(NamedTuple):
    """How intervals are made: level, number of resamples of prompts, seed."""

    confidence: float = 0.95
    draws: int = 10_000
    seed: int = 0


def at_one_angle(
    target: Floats,
    pairs: Sequence[Pair],
    independent: Sequence[tuple[Floats, Floats]] | None,
    bootstrap: Bootstrap,
) -> dict[str, Any]:
    """What a comparison shows at one target: see ``Comparison.report``."""
    best = np.array([[one.best, other.best] for one, other in pairs])
    fine: Bools = np.asarray(np.isfinite(best).all(axis=1))
    arms = _with_difference(best[fine])
    chosen = [pair for pair, good in zip(pairs, fine, strict=True) if good]
    found = {
        "target": target.tolist(),
        "target_deg": angle_of(target) if len(target) == 2 else None,
        "n": int(fine.sum()),
        "n_failed": int((~fine).sum()),
        "generations": _generations(pairs),
        "best": _cells(arms, np.arange(len(arms)), bootstrap),
        **win_counts(arms[:, 2], bootstrap.confidence),
        "mean_words": _mean_words(chosen),
        "neighbours": neighbours_table([one for one, _ in pairs]),
        "one_sided": one_sided([one for one, _ in pairs]),
        "independent": None,
    }
    if independent is not None:
        found["independent"] = _second_opinion(pairs, independent, bootstrap)
    return found


def over_angles(
    arms: Sequence[Sequence[Pair]],
    independent: Sequence[Sequence[tuple[Floats, Floats]]] | None,
    clusters: np.ndarray[Any, np.dtype[np.int64]],
    bootstrap: Bootstrap,
) -> dict[str, Any]:
    """Means over targets; a resample takes a prompt with all its targets."""
    best = np.array([[[one.best, other.best] for one, other in pairs] for pairs in arms])
    found = _pooled(best, clusters, bootstrap)
    found["generations"] = _generations([pair for pairs in arms for pair in pairs])
    found["independent"] = None
    if independent is not None:
        second = np.array(
            [
                [_chosen_scores(pair, scores) for pair, scores in zip(pairs, each, strict=True)]
                for pairs, each in zip(arms, independent, strict=True)
            ]
        )
        found["independent"] = _pooled(second, clusters, bootstrap)
    return found


def win_counts(differences: Floats, confidence: float = 0.95) -> dict[str, Any]:
    """Wins, losses and ties of paired differences, with rates: see :func:`win_rates`.

    Example:
        >>> win_counts(np.array([1.0, 2.0, 0.0, -1.0]))["wins"]
        2
    """
    wins, losses = int((differences > 0).sum()), int((differences < 0).sum())
    ties = len(differences) - wins - losses
    rates = win_rates(wins, losses, ties, confidence)
    return {"wins": wins, "losses": losses, "ties": ties, **rates}


def win_rates(wins: int, losses: int, ties: int, confidence: float = 0.95) -> dict[str, Any]:
    """Three win rates, the sign test's z, and Wilson's interval of the rate without ties.

    Example:
        >>> rates = win_rates(6, 3, 1)
        >>> rates["rate_all"], rates["rate_half_ties"], rates["z"]
        (0.6, 0.65, 1.0)
    """
    n, decided = wins + losses + ties, wins + losses
    return {
        "rate_no_ties": wins / decided if decided else 0.5,
        "rate_all": wins / n if n else None,
        "rate_half_ties": (wins + ties / 2) / n if n else None,
        "z": (wins - losses) / math.sqrt(decided) if decided else 0.0,
        "wilson_no_ties": _wilson(wins, decided, confidence),
    }


def neighbours_table(records: Sequence[Selection]) -> list[dict[str, Any]]:
    """By angle from the target: mean score with standard error over prompts, times chosen.

    Angles that differ from prompt to prompt are gathered in steps of 5 degrees.
    """
    angles = np.concatenate([record.angles_deg for record in records])
    fixed = len(np.unique(angles.round(6))) <= max(len(record.angles_deg) for record in records)
    gathered = [_gather(record.angles_deg, fixed) for record in records]
    rows: list[dict[str, Any]] = []
    for angle in np.unique(np.concatenate(gathered)):
        means: list[float] = []
        chosen = candidates = 0
        for record, near in zip(records, gathered, strict=True):
            here = near == angle
            candidates += int(here.sum())
            good = here & record.ok
            if good.any():
                means.append(float(record.scores[good].mean()))
            chosen += record.chosen is not None and bool(here[record.chosen])
        error = float(np.std(means, ddof=1) / math.sqrt(len(means))) if len(means) > 1 else None
        rows.append(
            {
                "angle_deg": float(angle),
                "n": candidates,
                "n_prompts": len(means),
                "mean": float(np.mean(means)) if means else None,
                "standard_error": error,
                "chosen": chosen,
            }
        )
    return rows


def one_sided(records: Sequence[Selection]) -> str:
    """A sentence if nearly all choices beside the target lie on one side of it, else empty."""
    if not records or len(records[0].target) != 2:
        return ""
    turns = np.array([r.angles_deg[r.chosen] for r in records if r.chosen is not None])
    beside = turns[np.abs(turns) > 1e-6]
    if len(beside) < _ONE_SIDE_LEAST:
        return ""
    above = float((beside > 0).mean())
    if max(above, 1 - above) < _ONE_SIDE_SHARE:
        return ""
    side = "larger" if above > 0.5 else "smaller"
    return (
        f"{max(above, 1 - above):.0%} of {len(beside)} choices beside the target lie at "
        f"{side} angles: the gain, if any, is that of the side, not of a neighbourhood."
    )


def _gather(angles: Floats, fixed: bool) -> Floats:
    return angles.round(6) + 0.0 if fixed else np.round(angles / _BIN_DEG) * _BIN_DEG + 0.0


def _second_opinion(
    pairs: Sequence[Pair],
    independent: Sequence[tuple[Floats, Floats]],
    bootstrap: Bootstrap,
) -> dict[str, Any]:
    """The chosen answers under another scorer, and how far the two agree within prompts."""
    found = np.array(
        [_chosen_scores(pair, scores) for pair, scores in zip(pairs, independent, strict=True)]
    )
    fine = np.isfinite(found).all(axis=1)
    arms = _with_difference(found[fine])
    cells = _cells(arms, np.arange(len(arms)), bootstrap)
    correlation = _correlation(pairs, independent)
    return {
        "n": len(arms),
        "best": cells,
        **win_counts(arms[:, 2], bootstrap.confidence),
        "correlation": correlation,
    }


def _chosen_scores(pair: Pair, scores: tuple[Floats, Floats]) -> list[float]:
    return [
        math.nan if record.chosen is None else float(given[record.chosen])
        for record, given in zip(pair, scores, strict=True)
    ]


def _correlation(
    pairs: Sequence[Pair], independent: Sequence[tuple[Floats, Floats]]
) -> float | None:
    """Pearson's, of all candidates after taking off each prompt's mean; ``None`` if flat."""
    one: list[Floats] = []
    other: list[Floats] = []
    for pair, scores in zip(pairs, independent, strict=True):
        own = np.concatenate([record.scores for record in pair])
        second = np.concatenate(scores)
        both = np.isfinite(own) & np.isfinite(second)
        if both.sum() > 1:
            one.append(own[both] - own[both].mean())
            other.append(second[both] - second[both].mean())
    if not one:
        return None
    x, y = np.concatenate(one), np.concatenate(other)
    size = math.sqrt(float(x @ x) * float(y @ y))
    return float(x @ y) / size if size else None


def _pooled(
    best: Floats,
    clusters: np.ndarray[Any, np.dtype[np.int64]],
    bootstrap: Bootstrap,
) -> dict[str, Any]:
    """Best scores (A, P, 2) averaged over targets, with the bootstrap over prompts."""
    flat = best.reshape(-1, 2)
    fine = np.isfinite(flat).all(axis=1)
    arms = _with_difference(flat[fine])
    owner = np.tile(clusters, len(best))[fine]
    cells = _cells(arms, owner, bootstrap)
    return {
        "n": len(arms),
        "prompts": len(np.unique(owner)),
        "best": cells,
        **win_counts(arms[:, 2], bootstrap.confidence),
    }


def _with_difference(arms: Floats) -> Floats:
    """Columns steered, baseline, difference."""
    return np.column_stack([arms, arms[:, 0] - arms[:, 1]])


def _cells(
    arms: Floats,
    owner: np.ndarray[Any, np.dtype[np.int64]],
    bootstrap: Bootstrap,
) -> dict[str, Any]:
    """Mean and percentile interval of each column, resampling whole clusters of rows."""
    names = ("steered", "baseline", "difference")
    if not len(arms):
        return {name: {"value": None, "low": None, "high": None} for name in names}
    place = np.unique(owner, return_inverse=True)[1]
    columns = np.column_stack([np.ones(len(arms)), arms]).T
    sums = np.array([np.bincount(place, weights=column) for column in columns], np.float64).T
    rng = np.random.default_rng(bootstrap.seed)
    draws = np.concatenate(
        [
            _resampled(sums, min(_CHUNK, bootstrap.draws - start), rng)
            for start in range(0, bootstrap.draws, _CHUNK)
        ]
    )
    tail = (1 - bootstrap.confidence) / 2
    low, high = np.quantile(draws, [tail, 1 - tail], axis=0)
    mean = arms.mean(axis=0)
    return {
        name: {"value": float(mean[c]), "low": float(low[c]), "high": float(high[c])}
        for c, name in enumerate(names)
    }


def _resampled(sums: Floats, draws: int, rng: np.random.Generator) -> Floats:
    """Means (draws, c) of resampled clusters, from sums (n, 1 + c) whose first column counts."""
    n = len(sums)
    rows = rng.integers(n, size=(draws, n)) + n * np.arange(draws)[:, None]
    taken = np.bincount(rows.ravel(), minlength=draws * n).reshape(draws, n) @ sums
    return taken[:, 1:] / taken[:, :1]


def _generations(pairs: Sequence[Pair]) -> dict[str, int]:
    return {
        "steered": sum(len(one) for one, _ in pairs),
        "baseline": sum(len(other) for _, other in pairs),
    }


def _mean_words(pairs: Sequence[Pair]) -> dict[str, float | None]:
    """Mean length of the chosen answers: a judge may reward length alone."""
    words = [[len((record.text or "").split()) for record in pair] for pair in pairs]
    if not words:
        return {"steered": None, "baseline": None}
    steered, baseline = np.mean(words, axis=0)
    return {"steered": float(steered), "baseline": float(baseline)}


def _wilson(successes: int, total: int, confidence: float) -> list[float] | None:
    if not total:
        return None
    from scipy.special import ndtri

    z = float(ndtri((1 + confidence) / 2))
    share, weight = successes / total, z * z / total
    centre = (share + weight / 2) / (1 + weight)
    half = z / (1 + weight) * math.sqrt(share * (1 - share) / total + weight / (4 * total))
    return [max(0.0, centre - half), min(1.0, centre + half)]

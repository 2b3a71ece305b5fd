"""All that the ranking audit says of one model on one set of pairs, as plain values."""

from __future__ import annotations

import warnings
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..data import ScoredPairs
from ..errors import DataError, DataQualityWarning
from .difficulty import (
    BETAS,
    TRIAGE,
    alignment_gap,
    flip_table,
    flip_threshold,
    idealised_accuracy,
    scaled_dpo_loss,
    triage,
)
from .intervals import Floats, wilson
from .ranking import (
    Normalise,
    implicit_margin,
    ranking_accuracy,
    reference_deficit,
    reward_accuracy,
    shares,
)

_SIMILAR = (0.8, 1.25)
_QUARTILES = (0.0, 0.25, 0.5, 0.75, 1.0)


def ranking_report(
    scored: ScoredPairs,
    beta: float | None = None,
    alpha: ArrayLike | None = None,
    *,
    loss_budget: float = 0.5,
) -> dict[str, Any]:
    """Ranking accuracy, reward accuracy, idealised accuracy, difficulty, flips and lengths.

    Use it to see these figures side by side: each alone misleads. What cannot be computed
    from the scores at hand is ``None``.

    Args:
        scored: N pairs; with reference scores for all but the first accuracies, with
            lengths for normalised accuracy and length diagnostics.
        beta: scale for idealised accuracy and difficulty; ``scored.beta`` if not given,
            else the paper's grid, and no difficulty.
        alpha: ``(N,)`` share of raters who prefer chosen. If not given, the pairs'
            ``label_prob``; else, from estimated noise, one minus their ``flip_rate``. Without
            any of these there is no idealised accuracy.
        loss_budget: loss that training reaches, for the triage; nats, > 0.

    Returns:
        A record of plain values: ``n_pairs``, ``n_used``, ``n_ties`` (alpha 1/2), ``n_equal``
        (equal scores), ``n_excluded`` by reason, ``alpha_from`` (``"given"``, ``"label_prob"``,
        ``"flip_rate"`` or ``None``), ``beta``, ``betas``, ``ranking_accuracy`` and
        ``ranking_accuracy_normalised`` and ``reward_accuracy`` (value, Wilson interval, n),
        ``logps``, ``idealised`` and ``idealised_normalised`` (by beta, min, median, max, the
        actual accuracy on the same pairs, the gap in points), ``share_alpha_below_half``,
        ``ref_log_ratio`` and ``flip_threshold`` (quartiles), ``triage``, ``flips``,
        ``length``, ``chance``.

    Warns:
        DataQualityWarning: if labels contradict the majority of the raters.

    Raises:
        DataError: as :func:`~pluralign.audit.ranking.ranking_accuracy` does.

    Example:
        >>> from pluralign import Preferences, ScoredPairs
        >>> pairs = Preferences.from_records([dict(prompt="p", chosen="a", rejected="b")])
        >>> found = ranking_report(ScoredPairs(pairs, chosen=[-38.0], rejected=[-33.0],
        ...     ref_chosen=[-40.0], ref_rejected=[-30.0], beta=0.1), alpha=[0.75])
        >>> found["reward_accuracy"]["value"], found["ranking_accuracy"]["value"]
        (1.0, 0.0)
        >>> found["idealised"]["median"]
        1.0

    References:
        Chen et al., 2024, arXiv 2405.19534.
    """
    if scored.kind == "reward":
        return _reward_record(scored)
    beta = scored.beta if beta is None else beta
    share, origin = _alpha(scored, alpha)
    right = ranking_accuracy(scored)
    used = np.isfinite(right)
    lengths = scored.chosen_length is not None and scored.rejected_length is not None
    reference = scored.ref_chosen is not None and scored.ref_rejected is not None
    deficit = reference_deficit(scored) if reference else None
    by_token = ranking_accuracy(scored, normalise="token_mean") if lengths else None
    return {
        "n_pairs": len(scored),
        "n_used": int(used.sum()),
        "n_ties": 0 if share is None else int((share == 0.5).sum()),
        "n_equal": int((scored.chosen == scored.rejected).sum()),
        "n_excluded": _excluded(scored, used, deficit),
        "alpha_from": origin,
        "beta": beta,
        "betas": list(BETAS) if beta is None else [beta],
        "ranking_accuracy": _share(right),
        "ranking_accuracy_normalised": None if by_token is None else _share(by_token),
        "reward_accuracy": _share(reward_accuracy(scored)) if reference else None,
        "logps": _logps(scored),
        "idealised": _idealised(scored, share, beta, "none") if reference else None,
        "idealised_normalised": (
            _idealised(scored, share, beta, "token_mean") if reference and lengths else None
        ),
        "share_alpha_below_half": None if share is None else float((share < 0.5).mean()),
        "ref_log_ratio": None if deficit is None else _quartiles(deficit),
        **_difficulty(scored, deficit, beta, share, right, loss_budget),
        "length": _length(scored, right) if lengths else None,
        "chance": {"pairs": 0.5},
    }


def _reward_record(scored: ScoredPairs) -> dict[str, Any]:
    right = reward_accuracy(scored)
    return {
        "n_pairs": len(scored),
        "n_used": int(np.isfinite(right).sum()),
        "n_excluded": {"non_finite": int(np.isnan(right).sum())},
        "reward_accuracy": _share(right),
        "chance": {"pairs": 0.5},
    }


def _alpha(scored: ScoredPairs, alpha: ArrayLike | None) -> tuple[Floats | None, str | None]:
    """Share of raters for chosen, and where it comes from: votes before estimates."""
    pairs = scored.pairs
    estimated = None if pairs.flip_rate is None else 1.0 - pairs.flip_rate
    known = {"given": alpha, "label_prob": pairs.label_prob, "flip_rate": estimated}
    origin = next((name for name, values in known.items() if values is not None), None)
    if origin is None:
        return None, None
    share = shares(cast(ArrayLike, known[origin]))
    if share.shape != (len(scored),):
        raise DataError(
            f"alpha has shape {share.shape} for {len(scored)} pairs.", source=scored.pairs.source
        )
    below = int((share < 0.5).sum())
    if below:
        warnings.warn(
            f"the label contradicts the raters' majority in {below} of {len(scored)} pairs "
            "(alpha < 1/2); the optimum pushes these chosen responses down.",
            DataQualityWarning,
            stacklevel=3,
        )
    return share, origin


def _share(values: Floats) -> dict[str, float | int]:
    used = values[np.isfinite(values)]
    low, high = wilson(float(used.sum()), len(used))
    return {"value": float(used.mean()), "low": low, "high": high, "n": len(used)}


def _quartiles(values: Floats) -> dict[str, float]:
    names = ("min", "q1", "median", "q3", "max")
    found = np.quantile(values[np.isfinite(values)], _QUARTILES)
    return dict(zip(names, found.tolist(), strict=True))


def _excluded(
    scored: ScoredPairs, used: NDArray[np.bool_], deficit: Floats | None
) -> dict[str, int]:
    lost = {"non_finite_score": int((~used).sum())}
    if deficit is not None:
        lost["non_finite_reference"] = int(np.isnan(deficit).sum())
    return lost


def _logps(scored: ScoredPairs) -> dict[str, float | bool | None]:
    """Mean log-probabilities and their change; both may fall while the margin rises."""
    found: dict[str, float | bool | None] = {}
    for side in ("chosen", "rejected"):
        values, reference = getattr(scored, side), getattr(scored, f"ref_{side}")
        found[side] = _mean(values)
        found[f"{side}_change"] = None if reference is None else _mean(values - reference)
    changes = found["chosen_change"], found["rejected_change"]
    found["both_fell"] = None if None in changes else all((c or 0.0) < 0 for c in changes)
    return found


def _mean(values: Floats) -> float | None:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else None


def _idealised(
    scored: ScoredPairs, share: Floats | None, beta: float | None, normalise: Normalise
) -> dict[str, Any] | None:
    """Idealised and actual accuracy on the same pairs: finite scores, no tied raters."""
    if share is None:
        return None
    deficit = reference_deficit(scored, normalise=normalise)
    right = ranking_accuracy(scored, normalise=normalise)
    used = np.isfinite(deficit) & np.isfinite(right) & (share != 0.5)
    if not used.any():
        return None
    ideal = idealised_accuracy(-deficit[used], share[used], BETAS if beta is None else beta)
    actual = float(right[used].mean())
    return {
        "betas": list(ideal.betas),
        "accuracy": list(ideal.accuracy),
        "min": ideal.min,
        "median": ideal.median,
        "max": ideal.max,
        "n_used": ideal.n_used,
        "ranking_accuracy": actual,
        "gap": alignment_gap(ideal, actual),
    }


def _difficulty(
    scored: ScoredPairs,
    deficit: Floats | None,
    beta: float | None,
    share: Floats | None,
    right: Floats,
    loss_budget: float,
) -> dict[str, Any]:
    """Thresholds, triage with the share flipped per class, and flips; needs one beta."""
    if deficit is None or beta is None:
        return {"flip_threshold": None, "triage": None, "flips": None}
    used = np.isfinite(deficit) & np.isfinite(right)
    c, now = deficit[used], right[used]
    kinds = triage(c, beta, loss_budget=loss_budget, alpha=None if share is None else share[used])
    margin = implicit_margin(scored)[used]
    classes: dict[str, Any] = {}
    for name in TRIAGE:
        kept = kinds == name
        wrong = kept & (c > 0)
        classes[name] = {
            "count": int(kept.sum()),
            "share": float(kept.mean()),
            "flipped_share": float(now[wrong].mean()) if wrong.any() else None,
        }
    return {
        "flip_threshold": _quartiles(flip_threshold(c, beta)),
        "triage": {"loss_budget": loss_budget, "classes": classes},
        "flips": flip_table(
            (c <= 0).astype(np.float64),
            now,
            loss=scaled_dpo_loss(margin - c, c, beta),
            margin=beta * margin,
        ),
    }


def _length(scored: ScoredPairs, right: Floats) -> dict[str, Any]:
    """Is the score measuring length? Accuracy where lengths are alike, beside all pairs."""
    chosen, rejected = np.asarray(scored.chosen_length), np.asarray(scored.rejected_length)
    ratio = chosen / rejected
    similar = (ratio >= _SIMILAR[0]) & (ratio <= _SIMILAR[1]) & np.isfinite(right)
    return {
        "mean_chosen": float(chosen.mean()),
        "mean_rejected": float(rejected.mean()),
        "chosen_shorter": float((chosen < rejected).mean()),
        "chosen_longer": float((chosen > rejected).mean()),
        "similar_length": list(_SIMILAR),
        "ranking_accuracy_similar": _share(right[similar]) if similar.any() else None,
    }

"""How often are labels reversed? Estimates with intervals, from evidence of four kinds.

From the surest to the weakest: gold pairs, double annotation, held-out likelihood over a
grid of rates, and the margins of one model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import DataError, ParameterError
from ..rules import Within
from .intervals import Floats, clopper_pearson, normal_quantile, wilson
from .minimiser import has_finite_minimiser as has_finite_minimiser

Interval = Literal["exact", "wilson"]
_HIGHEST = 0.5 - 1e-6
_WIDEST_SCALE = 5.0  # natural logarithm of the largest change of scale that is tried


@final
@dataclass(frozen=True)
class FlipRate:
    """An estimate of the probability that a label is reversed.

    Attributes:
        value: the estimate; for an upper bound, the bound.
        low: lower end of the interval of ``value``.
        high: upper end.
        n: pairs (for gold and margins) or pairs annotated twice that it rests on.
        method: ``"gold"``, ``"double_annotation"``, ``"duplicates"``, ``"em"`` or
            ``"heldout_grid"``.
        group: the group it is for; ``None`` for all pairs.
        note: what the estimate assumes, in one sentence.
        is_upper_bound: whether the rate itself can be lower than all of the interval.
    """

    value: float
    low: float
    high: float
    n: int
    method: str
    group: str | None = None
    note: str = ""
    is_upper_bound: bool = False


def from_gold(
    errors: float, total: float, *, confidence: float = 0.95, interval: Interval = "exact"
) -> FlipRate:
    """Flip rate from pairs whose true label is known: ``errors / total``.

    Args:
        errors: gold pairs that were labelled wrongly.
        total: gold pairs, > 0.
        confidence: level of the interval.
        interval: ``"exact"`` (Clopper-Pearson) holds its level at least, and is wide for
            few pairs; ``"wilson"`` holds it on average.

    Raises:
        DataError: if there is no gold pair, or more errors than pairs.

    Example:
        >>> rate = from_gold(18, 120)
        >>> rate.value, round(rate.low, 4), round(rate.high, 4)
        (0.15, 0.0914, 0.2267)

    References:
        Chowdhury et al., 2024, arXiv 2403.00409, for the use; the procedure is ours.
    """
    low, high = _share_interval(errors, total, "gold pairs", confidence, interval)
    note = "the gold pairs are a random sample of the pairs, and their truth is known"
    return FlipRate(errors / total, low, high, round(total), "gold", note=note)


def from_double_annotation(
    agreements: float, total: float, *, confidence: float = 0.95, interval: Interval = "exact"
) -> FlipRate:
    """An upper bound of the flip rate from how often two annotators of a pair agree.

    ``(1 - sqrt(max(2 A - 1, 0))) / 2`` with the agreement rate A. It would be the rate
    itself if people never truly disagreed; where they do, the rate is lower.

    Args:
        agreements: pairs that two annotators labelled alike.
        total: pairs that two annotators labelled, > 0. With more than two annotators a
            pair, count its share of agreeing annotator pairs.
        confidence: level of the interval of the bound.
        interval: as in :func:`from_gold`.

    Raises:
        DataError: if there is no such pair, or more agreements than pairs.

    Example:
        >>> round(from_double_annotation(820, 1000).value, 3)
        0.1
    """
    low, high = _share_interval(agreements, total, "pairs annotated twice", confidence, interval)
    note = (
        "an upper bound: true disagreement between people counts as noise here; annotators "
        "err independently and equally often"
    )
    bound, lower, upper = (_rate_of_agreement(rate) for rate in (agreements / total, high, low))
    return FlipRate(
        bound, lower, upper, round(total), "double_annotation", note=note, is_upper_bound=True
    )


def forward_nll(z: ArrayLike, eps: ArrayLike) -> Floats:
    """Negative log-likelihood of the observed labels, one a pair.

    ``-log((1 - eps) sigmoid(z) + eps sigmoid(-z))``. Comparable across eps, unlike the rDPO
    loss: select models and rates by its held-out mean.

    Args:
        z: ``(N,)`` implicit-reward margins (beta times margin), logits.
        eps: flip rate in [0, 0.5), one number or ``(N,)``.
    """
    margin, rate = np.asarray(z, dtype=np.float64), _rate(eps)
    with np.errstate(divide="ignore"):  # log 0 is right at eps = 0
        return -np.logaddexp(
            np.log1p(-rate) - np.logaddexp(0.0, -margin), np.log(rate) - np.logaddexp(0.0, margin)
        )


def flip_posterior(z: ArrayLike, eps: ArrayLike) -> Floats:
    """Probability that each label is reversed, given its margin: an audit of single labels.

    ``eps sigmoid(-z) / ((1 - eps) sigmoid(z) + eps sigmoid(-z))``. Its mean is the next
    rate of an EM step with the model held fixed.

    Args:
        z: ``(N,)`` implicit-reward margins, logits.
        eps: flip rate in [0, 0.5), one number or ``(N,)``.

    Example:
        >>> flip_posterior([3.0, -4.0], 0.2).round(3).tolist()
        [0.012, 0.932]
    """
    margin, rate = np.asarray(z, dtype=np.float64), _rate(eps)
    with np.errstate(divide="ignore"):
        log_odds = np.log(rate) - np.log1p(-rate) - margin
    return np.exp(-np.logaddexp(0.0, -log_odds))


def em_step(z: ArrayLike, eps: float) -> float:
    """The mean of :func:`flip_posterior`: one step of EM for the rate, the model held fixed."""
    return float(flip_posterior(z, eps).mean())


def from_margins(
    z: ArrayLike, *, confidence: float = 0.95, scale: Literal["free", "fixed"] = "free"
) -> FlipRate:
    """Flip rate from the margins of one model, by maximum likelihood of :func:`forward_nll`.

    Use it where there is neither gold nor double annotation. It asks where the share of
    wrongly ranked pairs levels off as margins grow, so it needs confident pairs, held out
    from training. Do not use it on a model tuned by plain DPO to convergence on the same
    noise: such a model has taken the noise into its margins and the estimate falls short.

    Args:
        z: ``(N,)`` implicit-reward margins of observed chosen over rejected, logits.
        confidence: level of the profile-likelihood interval.
        scale: ``"free"`` estimates a common factor of the margins along with the rate,
            because training on noisy labels shrinks them; ``"fixed"`` takes the margins as
            calibrated for clean labels, the limit of repeated :func:`em_step`.

    Returns:
        Estimate with profile-likelihood interval. Ours, after the EM of RE-PO.

    Raises:
        DataError: for fewer than two margins, or margins that are not finite.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> z = rng.normal(0.0, 4.0, 4000)
        >>> truth = rng.random(4000) < 1 / (1 + np.exp(-z))
        >>> flip = rng.random(4000) < 0.2
        >>> rate = from_margins(np.where(truth ^ flip, z, -z))
        >>> rate.low < 0.2 < rate.high
        True

    References:
        Re-estimation of flip rates by EM: arXiv 2509.24159.
    """
    margin = np.asarray(z, dtype=np.float64).ravel()
    bad = np.flatnonzero(~np.isfinite(margin)).tolist()
    if bad or len(margin) < 2:
        raise DataError(
            f"margins must be finite and at least two; {len(bad)} of {len(margin)} are not.",
            rows=bad,
        )

    if scale not in ("free", "fixed"):
        raise ParameterError(f"scale must be one of 'free', 'fixed'; got {scale!r}.")
    _check_level(confidence)

    def loss(rate: float) -> float:
        return _profile(margin, rate) if scale == "free" else float(forward_nll(margin, rate).sum())

    value, low, high = _likelihood_interval(loss, normal_quantile(confidence) ** 2 / 2)
    note = (
        "margins are held out and right but for one factor, and every label flips equally often"
        if scale == "free"
        else "margins are held out and calibrated for clean labels"
    )
    return FlipRate(value, low, high, len(margin), "em", note=note)


def heldout_grid(z_by_eps: Mapping[float, ArrayLike], *, confidence: float = 0.95) -> FlipRate:
    """The rate whose model predicts held-out labels best, and the rates that do as well.

    Args:
        z_by_eps: by assumed flip rate, the held-out margins (logits) of the model trained
            with it; all on the same N pairs in one order.
        confidence: a rate is kept in the interval unless its paired loss is higher than
            the best one's at this level.

    Raises:
        DataError: if the margins are not of one length.
        ParameterError: for rates outside [0, 0.5), or fewer than two rates.
    """
    rates = sorted(z_by_eps)
    losses = [forward_nll(z_by_eps[rate], rate) for rate in rates]
    if len(rates) < 2:
        raise ParameterError(f"heldout_grid needs at least two rates; got {rates}.")
    if len({loss.shape for loss in losses}) > 1:
        raise DataError("heldout_grid needs the same pairs for every rate; lengths differ.")
    best = min(range(len(rates)), key=lambda k: float(losses[k].mean()))
    z = normal_quantile(confidence)
    kept: list[float] = []
    for rate, loss in zip(rates, losses, strict=True):
        excess = loss - losses[best]
        if excess.mean() <= z * excess.std() / math.sqrt(len(excess)):
            kept.append(rate)
    note = "each rate has its own model; the interval holds the rates of the grid that do as well"
    return FlipRate(rates[best], min(kept), max(kept), len(losses[best]), "heldout_grid", note=note)


def corrected_accuracy(accuracy: ArrayLike, eps: ArrayLike) -> Floats:
    """Accuracy against the truth, from accuracy against flipped labels.

    ``(accuracy - eps) / (1 - 2 eps)``; noisy accuracy cannot much exceed ``1 - eps``. By
    chance the result can lie outside [0, 1].

    Example:
        >>> float(corrected_accuracy(0.68, 0.2).round(3))
        0.8
    """
    rate = _rate(eps)
    return (np.asarray(accuracy, dtype=np.float64) - rate) / (1 - 2 * rate)


def _rate_of_agreement(agreement: float) -> float:
    return (1 - math.sqrt(max(2 * agreement - 1, 0.0))) / 2


def _share_interval(
    count: float, total: float, what: str, confidence: float, interval: Interval
) -> tuple[float, float]:
    if not total > 0 or not 0 <= count <= total:
        raise DataError(
            f"there must be {what}, and no more counted than there are; got {count} of {total}."
        )
    if interval not in ("exact", "wilson"):
        raise ParameterError(f"interval must be one of 'exact', 'wilson'; got {interval!r}.")
    _check_level(confidence)
    return (clopper_pearson if interval == "exact" else wilson)(count, total, confidence)


def _check_level(confidence: float) -> None:
    rule = Within(0.0, 1.0, closed="neither")
    if not rule.admits(confidence):
        raise ParameterError(f"confidence must be {rule.wants()}; got {confidence!r}.")


def _rate(eps: ArrayLike) -> NDArray[np.float64]:
    rate = np.asarray(eps, dtype=np.float64)
    bad = np.flatnonzero(~((rate >= 0) & (rate < 0.5))).tolist()
    if bad:
        raise ParameterError(
            f"a flip rate must be in [0, 0.5); got {rate.flat[bad[0]]}. At 0.5 labels carry no "
            "information; above it, swap the labels and use 1 - rate."
        )
    return rate


def _profile(margin: Floats, rate: float) -> float:
    """Loss at a rate, minimised over a common factor of the margins."""

    def loss(log_factor: float) -> float:
        return float(forward_nll(math.exp(log_factor) * margin, rate).sum())

    return loss(_least(loss, -_WIDEST_SCALE, _WIDEST_SCALE))


def _likelihood_interval(
    loss: Callable[[float], float], allowed: float
) -> tuple[float, float, float]:
    """Where a loss of the rate is least, and where it is at most ``allowed`` above that."""
    from scipy.optimize import root_scalar

    value = min((0.0, _least(loss, 0.0, _HIGHEST)), key=loss)
    limit = loss(value) + allowed

    def excess(rate: float) -> float:
        return loss(rate) - limit

    low, high = 0.0, 0.5
    if excess(0.0) > 0:
        low = float(root_scalar(excess, bracket=(0.0, value), xtol=1e-5).root)
    if excess(_HIGHEST) > 0:
        high = float(root_scalar(excess, bracket=(value, _HIGHEST), xtol=1e-5).root)
    return value, low, high


def _least(loss: Callable[[float], float], low: float, high: float) -> float:
    """Where a function with one valley is least."""
    from scipy.optimize import minimize_scalar

    found: Any = minimize_scalar(loss, bounds=(low, high), method="bounded")
    return float(found.x)

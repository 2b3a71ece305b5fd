"""What ranking could be reached: per-pair thresholds and the perfect policy's accuracy.

Notation: ``c`` is how much likelier the reference finds the rejected response, in nats
(``ranking.reference_deficit``); ``m`` the policy's log-ratio of chosen over rejected.
All of it is computable before training, and in logarithms only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ParameterError
from ..rules import Within
from .intervals import Floats
from .ranking import Normalise, shares

EpsRule = Literal["clip", "paper"]
BETAS = (0.01, 0.1, 1.0, 5.0, 10.0)
"""The scales that the paper tries where that of a model is not known."""

TRIAGE = ("already correct", "easy", "hard", "infeasible")
FLIPS = ("c->c", "c->i", "i->c", "i->i")
_TIE_RATIO = 0.05
_LARGE = 30.0


@final
@dataclass(frozen=True)
class IdealisedAccuracy:
    """Ranking accuracy of the exact optimum of DPO or RLHF.

    Attributes:
        betas: scales.
        accuracy: share of pairs ranked rightly, one a scale.
        n_used: pairs that count.
    """

    betas: tuple[float, ...]
    accuracy: tuple[float, ...]
    n_used: int

    @property
    def min(self) -> float:
        """Lowest over the scales."""
        return float(np.min(self.accuracy))

    @property
    def median(self) -> float:
        """Median over the scales."""
        return float(np.median(self.accuracy))

    @property
    def max(self) -> float:
        """Highest over the scales."""
        return float(np.max(self.accuracy))


def perfect_log_ratio(
    ref_log_ratio: ArrayLike,
    alpha: ArrayLike,
    beta: ArrayLike,
    *,
    eps: float = 0.001,
    eps_rule: EpsRule = "clip",
) -> Floats:
    """Log-likelihood ratio of the exact optimum, chosen over rejected.

    ``log pi*(w)/pi*(l) = log ref(w)/ref(l) + logit(alpha) / beta``.

    Args:
        ref_log_ratio: ``(N,)``, chosen over rejected under the reference, nats (``-c``).
        alpha: ``(N,)``, share of raters who prefer chosen, in [0, 1].
        beta: scale, > 0; a number, or ``(M,)`` for one row a scale.
        eps: keeps a unanimous share from an infinite optimum, in (0, 0.5).
        eps_rule: ``"clip"`` moves alpha into [eps, 1 - eps]; ``"paper"`` replaces a zero
            share by eps and leaves the other (ratio 1 / eps).

    Returns:
        ``(N,)`` or ``(M, N)``.

    Example:
        >>> perfect_log_ratio([-10.0], [0.75], [0.1, 1.0]).round(3).tolist()
        [[0.986], [-8.901]]

    References:
        Chen et al., 2024, arXiv 2405.19534, Theorem 3.1.
    """
    scale = _positive(beta, "beta")
    ratio = np.asarray(ref_log_ratio, dtype=np.float64)
    return ratio + _logit(alpha, eps, eps_rule) / (scale[..., None] if scale.ndim else scale)


def perfect_log_ratio_from_perplexity(
    perplexities: tuple[ArrayLike, ArrayLike],
    lengths: tuple[ArrayLike, ArrayLike],
    alpha: ArrayLike,
    beta: float,
    *,
    normalise: Normalise = "none",
    eps: float = 0.001,
    eps_rule: EpsRule = "clip",
) -> Floats:
    """The same from perplexities of the two responses under the reference.

    Args:
        perplexities: of the first and the second response, ``(N,)`` each, > 0.
        lengths: their numbers of tokens.
        alpha: ``(N,)``, share of raters who prefer the first.
        beta: scale, > 0.
        normalise: ``"none"`` compares sums, ``"token_mean"`` per-token values.
        eps: as in :func:`perfect_log_ratio`.
        eps_rule: as in :func:`perfect_log_ratio`.

    Differs from the paper: its code divides two sums of log-probabilities where the ratio
    of likelihoods is meant; this is the ratio.
    """
    first, second = (
        -np.log(_positive(perplexity, "perplexity"))
        * (np.asarray(length, dtype=np.float64) if normalise == "none" else 1.0)
        for perplexity, length in zip(perplexities, lengths, strict=True)
    )
    return perfect_log_ratio(first - second, alpha, beta, eps=eps, eps_rule=eps_rule)


def idealised_accuracy(
    ref_log_ratio: ArrayLike,
    alpha: ArrayLike,
    betas: float | Sequence[float] = BETAS,
    *,
    eps: float = 0.001,
    eps_rule: EpsRule = "clip",
    drop_ties: bool = True,
) -> IdealisedAccuracy:
    """The ranking accuracy that exact optimisation from this reference would reach.

    Use it before blaming the optimiser: with a strong scale, or a reference far off, even
    the optimum ranks many pairs wrongly. If the scale is known, give it alone.

    A pair is right if :func:`perfect_log_ratio` is > 0, that is if ``alpha >
    alpha_needed(c, beta)``.

    Args:
        ref_log_ratio: ``(N,)``, chosen over rejected under the reference, nats. Use per-token
            values throughout if ranking accuracy is taken per token.
        alpha: ``(N,)``, share of raters who prefer chosen, in [0, 1].
        betas: one scale or several.
        eps: as in :func:`perfect_log_ratio`.
        eps_rule: as in :func:`perfect_log_ratio`.
        drop_ties: leave out pairs with alpha 1/2; else these are right where the optimum's
            ratio is within 5 % of 1.

    Returns:
        Accuracy by scale, with minimum, median and maximum.

    Raises:
        ParameterError: if no pair is left, or a number is out of range.
        DataError: naming the rows with a share outside [0, 1].

    Example:
        >>> found = idealised_accuracy([-60.0, -8.0, 5.0], [1.0, 0.75, 0.6], [0.1, 1.0])
        >>> [round(value, 2) for value in found.accuracy]
        [1.0, 0.33]

    Differs from the paper: strict sign instead of its code's 5 % dead zone around 1, and
    the likelihood ratio where its code divides log-likelihoods; so its table is no anchor.

    References:
        Chen et al., 2024, arXiv 2405.19534.
    """
    share = shares(alpha)
    scales = np.atleast_1d(_positive(betas, "betas"))
    ratio = perfect_log_ratio(ref_log_ratio, share, scales, eps=eps, eps_rule=eps_rule)
    tied = np.broadcast_to(share == 0.5, ratio.shape[1:])
    within = (ratio > np.log1p(-_TIE_RATIO)) & (ratio < np.log1p(_TIE_RATIO))
    right = np.where(tied, within, ratio > 0)
    used = ~tied if drop_ties else np.ones_like(tied)
    used &= np.isfinite(ratio).all(axis=0)
    if not used.any():
        raise ParameterError(
            "idealised_accuracy: no pair is left; every alpha is 1/2 (drop_ties=False keeps them)."
        )
    accuracy = right[:, used].mean(axis=1)
    return IdealisedAccuracy(tuple(scales.tolist()), tuple(accuracy.tolist()), int(used.sum()))


def alignment_gap(ideal: IdealisedAccuracy, accuracy: float) -> dict[str, float]:
    """Idealised minus actual ranking accuracy, in percentage points.

    Args:
        ideal: on the same pairs, with the same normalisation as ``accuracy``.
        accuracy: ranking accuracy of the model.

    Returns:
        ``{"min", "median", "max"}`` over the scales of ``ideal``.
    """
    return {name: 100 * (getattr(ideal, name) - accuracy) for name in ("min", "median", "max")}


def flip_threshold(c: ArrayLike, beta: float, gamma: float = 1.0) -> Floats:
    """Loss that a pair must reach before the model ranks it rightly.

    ``ranking correct <=> loss <= softplus(-beta * gamma * c)``, exactly, for DPO
    (``gamma=1``) and its gamma-scaled form; at ``c = 0``, or without a reference, log 2.

    Args:
        c: how much likelier the reference finds the rejected response, nats.
        beta: scale, > 0.
        gamma: weight of the reference, >= 0.

    Example:
        >>> flip_threshold([0.0, 10.0, 2000.0], beta=0.1).round(4).tolist()
        [0.6931, 0.3133, 0.0]

    References:
        Chen et al., 2024, arXiv 2405.19534, Theorem 4.1.
    """
    return np.logaddexp(0.0, -margin_needed(c, beta, gamma))


def log_flip_threshold(c: ArrayLike, beta: float, gamma: float = 1.0) -> Floats:
    """Logarithm of :func:`flip_threshold`, exact also where that is below 1e-300."""
    needed = margin_needed(c, beta, gamma)
    near = np.logaddexp(0.0, -np.minimum(needed, _LARGE))
    return np.where(needed > _LARGE, -needed, np.log(near))


def margin_needed(c: ArrayLike, beta: float, gamma: float = 1.0) -> Floats:
    """Implicit-reward margin from which on a pair is ranked rightly, ``beta * gamma * c``."""
    weight = _positive(beta, "beta") * _positive(gamma, "gamma", zero=True)
    with np.errstate(over="ignore"):  # beyond any number is beyond any loss
        return weight * np.asarray(c, dtype=np.float64)


def alpha_needed(c: ArrayLike, beta: float) -> Floats:
    """Share of raters above which the exact optimum ranks a pair rightly, ``sigmoid(beta c)``."""
    return np.exp(-flip_threshold(c, beta))


def scaled_dpo_loss(m: ArrayLike, c: ArrayLike, beta: float, gamma: float = 1.0) -> Floats:
    """DPO's loss with a weighted reference, ``softplus(-beta * (m + gamma * c))``."""
    margin = _positive(beta, "beta") * np.asarray(m, dtype=np.float64)
    return np.logaddexp(0.0, -(margin + margin_needed(c, beta, gamma)))


def ipo_zero_loss_is_correct(ref_log_ratio: ArrayLike, tau: float) -> NDArray[np.bool_]:
    """Whether a pair with IPO loss zero is ranked rightly: log-ratio >= -1 / (2 tau).

    References:
        Chen et al., 2024, arXiv 2405.19534, Proposition A.7.
    """
    return _ipo_optimum(ref_log_ratio, tau) >= 0


def ipo_sufficient_loss(ref_log_ratio: ArrayLike, tau: float) -> Floats:
    """IPO loss at or below which a pair is surely ranked rightly; NaN where none is.

    Sufficient, not necessary: beyond its target a margin is right at any loss.
    """
    optimum = _ipo_optimum(ref_log_ratio, tau)
    return np.where(optimum >= 0, np.square(optimum), np.nan)


def triage(
    c: ArrayLike, beta: float, *, loss_budget: float, alpha: ArrayLike | None = None
) -> NDArray[np.str_]:
    """How hard each pair is to rank, from the reference alone, before training.

    Args:
        c: ``(N,)``, how much likelier the reference finds the rejected response, nats.
        beta: scale of the training to come, > 0.
        loss_budget: mean loss that training is expected to reach, > 0.
        alpha: ``(N,)`` rater shares; with them, pairs that even the exact optimum ranks
            wrongly are ``"infeasible"``.

    Returns:
        ``(N,)``: ``"infeasible"`` if alpha <= :func:`alpha_needed`; else ``"already
        correct"`` if c <= 0; else ``"easy"`` if the flip threshold is at or above the
        budget, ``"hard"`` if below.
    """
    _positive(loss_budget, "loss_budget")
    deficit = np.asarray(c, dtype=np.float64)
    hard = flip_threshold(deficit, beta) < loss_budget
    kind = np.where(deficit <= 0, TRIAGE[0], np.where(hard, TRIAGE[2], TRIAGE[1]))
    if alpha is not None:
        kind = np.where(shares(alpha) <= alpha_needed(deficit, beta), TRIAGE[3], kind)
    return kind


def flip_table(
    before: ArrayLike, after: ArrayLike, *, loss: ArrayLike, margin: ArrayLike
) -> dict[str, Any]:
    """Where pairs went between the reference (before) and the policy (after).

    Args:
        before: ``(N,)`` ranking accuracy (1.0 or 0.0) of the reference.
        after: the same of the policy.
        loss: ``(N,)`` loss of the policy.
        margin: ``(N,)`` margin of the policy.

    Returns:
        For ``c->c``, ``c->i``, ``i->c`` and ``i->i`` (correct, incorrect) count, share,
        mean loss and mean margin (``None`` where there is no pair), and
        ``flipped_share_of_wrong``, the share of initially wrong pairs now right.
    """
    was, now = np.asarray(before) > 0, np.asarray(after) > 0
    table: dict[str, Any] = {}
    for name, kept in zip(FLIPS, (was & now, was & ~now, ~was & now, ~was & ~now), strict=True):
        count = int(kept.sum())
        table[name] = {
            "count": count,
            "share": count / len(was),
            "mean_loss": float(np.asarray(loss)[kept].mean()) if count else None,
            "mean_margin": float(np.asarray(margin)[kept].mean()) if count else None,
        }
    wrong = int((~was).sum())
    table["flipped_share_of_wrong"] = table["i->c"]["count"] / wrong if wrong else None
    return table


def _ipo_optimum(ref_log_ratio: ArrayLike, tau: float) -> Floats:
    return np.asarray(ref_log_ratio, dtype=np.float64) + 1 / (2 * _positive(tau, "tau"))


def _logit(alpha: ArrayLike, eps: float, eps_rule: EpsRule) -> Floats:
    share = shares(alpha)
    if not Within(0.0, 0.5, closed="neither").admits(eps):
        raise ParameterError(f"eps must be a finite number in (0, 0.5); got {eps!r}.")
    if eps_rule == "clip":
        share = np.clip(share, eps, 1 - eps)
        return np.log(share) - np.log1p(-share)
    if eps_rule == "paper":
        first, second = np.where(share == 0, eps, share), np.where(share == 1, eps, 1 - share)
        return np.log(first) - np.log(second)
    raise ParameterError(f"eps_rule must be one of 'clip', 'paper'; got {eps_rule!r}.")


def _positive(value: ArrayLike, name: str, *, zero: bool = False) -> Floats:
    numbers = np.asarray(value, dtype=np.float64)
    above = numbers >= 0 if zero else numbers > 0
    if not numbers.size or not (above & np.isfinite(numbers)).all():
        sign = ">= 0" if zero else "> 0"
        raise ParameterError(f"{name} must be finite and {sign}; got {value!r}.")
    return numbers

"""Means of many groups, drawn towards each other by how little is known of each.

Of many small groups the one with the lowest mean is low partly by luck. A hierarchical
model takes the luck off: the spread of the true values is learned from all groups, and a
group of 8 leans on it far more than a group of 800.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .intervals import Floats, Method
from .moments import Moments

_SPREADS = 40  # values tried for the spread of the true means
_CENTRES = np.linspace(-2.4, 2.4, 9)  # values tried for their centre, in standard deviations
# The variance of a small group leans on the pooled one as if that were from 4 pairs.
_PRIOR_FREEDOM = 3.0


class Shrunken(NamedTuple):
    """Posterior means ``(K,)`` of K groups, and draws ``(n_draws, K)`` of their true values."""

    value: Floats
    draws: Floats


def shrink(groups: Moments, method: Method, n_draws: int, rng: np.random.Generator) -> Shrunken:
    """Posterior of the true mean of each group under an exchangeable model.

    Shares: ``s_g ~ Binomial(n_g, p_g)``, ``p_g ~ Beta(m k, (1 - m) k)``. Other means:
    ``y_g ~ N(t_g, v_g / n_g)``, ``t_g ~ N(m, tau^2)``. The prior is flat in m and in the
    spread of the true values, and both are integrated over, so that the draws know how
    uncertain the spread is.

    Args:
        groups: moments of K >= 1 groups, each with at least one pair.
        method: kind of metric, as for the intervals.
        n_draws: number of draws.
        rng: source of the draws.

    Returns:
        NaN throughout where no group has a spread of its own.

    References:
        Gelman et al., 2013, Bayesian Data Analysis, sections 5.3 and 5.4. The moderated
        variance follows Smyth, 2004, Stat. Appl. Genet. Mol. Biol. 3(1), with fixed weight.
    """
    return _shares(groups, n_draws, rng) if method == "wilson" else _means(groups, n_draws, rng)


def _spread_grid() -> tuple[Floats, Floats]:
    """Values in (0, 1), closer together near zero, and the width that each stands for."""
    step = (np.arange(_SPREADS) + 0.5) / _SPREADS
    return step**2, 2 * step


def _chosen(log_weight: Floats, n_draws: int, rng: np.random.Generator) -> NDArray[np.int64]:
    weight = np.exp(log_weight - log_weight.max()).ravel()
    return rng.choice(len(weight), n_draws, p=weight / weight.sum())


def _shares(groups: Moments, n_draws: int, rng: np.random.Generator) -> Shrunken:
    from scipy.special import betaln
    from scipy.stats import beta, norm

    right = groups.effective * groups.gains
    wrong = groups.effective - right
    root, width = _spread_grid()
    within = root[:, None] ** 2  # correlation of two pairs of one group
    weight = (groups.effective / (1 + np.maximum(groups.effective - 1, 0) * within)).sum(axis=1)
    centre = (groups.effective / (1 + np.maximum(groups.effective - 1, 0) * within)) @ groups.gains
    first, second = centre[:, None] + 0.5, (weight - centre)[:, None] + 0.5
    mean = np.clip(beta.ppf(norm.cdf(_CENTRES), first, second), 1e-9, 1 - 1e-9)
    size = np.broadcast_to(1 / within - 1, mean.shape)
    a, b = (mean * size)[..., None], ((1 - mean) * size)[..., None]
    likelihood = (betaln(a + right, b + wrong) - betaln(a, b)).sum(axis=-1)
    proposed = beta.logpdf(mean, first, second) - norm.logpdf(_CENTRES)
    place = _chosen(likelihood - proposed + np.log(width)[:, None], n_draws, rng)
    a, b = a.reshape(-1, 1)[place] + right, b.reshape(-1, 1)[place] + wrong
    return Shrunken((a / (a + b)).mean(axis=0), rng.beta(a, b))


def _means(groups: Moments, n_draws: int, rng: np.random.Generator) -> Shrunken:
    freedom = np.maximum(groups.effective - 1, 0.0)
    spread = np.where(groups.n > 1, groups.variance, 0.0)
    if freedom @ spread <= 0:
        empty = np.full(len(groups.n), np.nan)
        return Shrunken(empty, np.full((n_draws, len(empty)), np.nan))
    pooled = (freedom @ spread) / freedom.sum()
    total = _PRIOR_FREEDOM + freedom
    moderated = (_PRIOR_FREEDOM * pooled + freedom * spread) / total
    noise = moderated / groups.effective
    root, width = _spread_grid()
    tau = root[:, None] * (np.ptp(groups.mean) + np.sqrt(noise.max()))
    precision = 1 / (noise + tau**2)
    known = precision.sum(axis=1)
    centre = (precision @ groups.mean) / known
    misfit = (precision * (groups.mean - centre[:, None]) ** 2).sum(axis=1)
    log_weight = (np.log(precision).sum(axis=1) - np.log(known) - misfit) / 2 + np.log(width)
    place = _chosen(log_weight, n_draws, rng)
    chosen_tau = tau[place]
    middle = rng.normal(centre[place], 1 / np.sqrt(known[place]))[:, None]
    # The variance of a small group is itself uncertain; its draws give the tails of t.
    noise = noise * total / rng.chisquare(np.broadcast_to(total, (n_draws, len(total))))
    own = chosen_tau**2 / (chosen_tau**2 + noise)
    value = middle + own * (groups.mean - middle)
    return Shrunken(value.mean(axis=0), rng.normal(value, np.sqrt(own * noise)))

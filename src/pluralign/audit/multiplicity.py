"""Which of many groups differ, without being led by the luck of looking at many."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, final

import numpy as np
from numpy.typing import ArrayLike

from ..errors import DataError
from .intervals import Floats, Method
from .moments import Moments

Against: TypeAlias = Literal["rest", "zero"]
"""What a group is compared with: the mean of all other pairs, or no difference at all."""

_NODES = np.linspace(-8.0, 8.0, 161)  # of a standard normal, for integrals over a share
_ROUNDING = 1e-12


@final
@dataclass(frozen=True)
class GroupTest:
    """Whether one group differs.

    Attributes:
        name: the group.
        difference: its mean minus what it is compared with.
        p_value: chance of a difference as large if there were none; ``None`` where it
            cannot be told (fewer than two pairs, or values without spread).
        adjusted: the p-value adjusted for the number of groups. Among groups called
            different at ``adjusted <= 0.05``, 5 % are expected to be called so wrongly.
    """

    name: str
    difference: float | None
    p_value: float | None
    adjusted: float | None


def benjamini_hochberg(p_values: ArrayLike) -> Floats:
    """P-values adjusted so that those below q have a false-discovery rate of at most q.

    Use it wherever several groups, models or metrics are tested at once; it holds for
    independent tests and for those that rise together.

    Args:
        p_values: ``(m,)`` in [0, 1]; NaN is no test, is not counted and stays NaN.

    Returns:
        ``(m,)`` adjusted p-values, ``min over j >= i of m p_(j) / j`` in order of size.

    Raises:
        DataError: if a value is outside [0, 1].

    Example:
        >>> benjamini_hochberg([0.01, 0.04, 0.03, 0.5]).round(4).tolist()
        [0.04, 0.0533, 0.0533, 0.5]

    References:
        Benjamini and Hochberg, 1995, J. R. Statist. Soc. B 57(1).
    """
    given = np.asarray(p_values, dtype=np.float64)
    known = np.isfinite(given)
    if given.ndim != 1 or ((given[known] < 0) | (given[known] > 1)).any():
        raise DataError(f"p_values must be one list of numbers in [0, 1]; got {p_values!r}.")
    order = np.argsort(given[known])
    size = len(order)
    scaled = given[known][order] * size / np.arange(1, size + 1)
    smallest = np.minimum.accumulate(scaled[::-1])[::-1]
    back = np.empty(size)
    back[order] = np.minimum(smallest, 1.0)
    adjusted = np.full(given.shape, np.nan)
    adjusted[known] = back
    return adjusted


def group_tests(groups: Moments, rest: Moments, method: Method, against: Against) -> list[Floats]:
    """Difference, p-value and adjusted p-value of each of K groups, ``(K,)`` each.

    Shares are compared by a binomial test that knows the rest's share only so well;
    paired differences of shares by the exact sign test on the pairs that only one model
    gets right; other means by Welch's t without its skewness (Hall, 1992, JRSS B 54(1)).
    """
    if against == "zero":
        difference = groups.mean
        p = _paired(groups) if method == "paired_score" else _welch(groups, None)
    else:
        difference = groups.mean - rest.mean
        p = _shares(groups, rest) if method == "wilson" else _welch(groups, rest)
    enough = groups.n > 1 if against == "zero" else (groups.n > 1) & (rest.n > 1)
    p = np.where(enough, p, np.nan)
    return [difference, p, benjamini_hochberg(p)]


def _two_sided(below: Floats, above: Floats) -> Floats:
    return np.minimum(2 * np.minimum(below, above), 1.0)


def _paired(groups: Moments) -> Floats:
    """Sign test: of the changed pairs, are more gained than lost?"""
    gains, losses = groups.effective * groups.gains, groups.effective * groups.losses
    return _two_sided(*_tails(gains, losses, np.full(gains.shape, 0.5)))


def _tails(right: Floats, wrong: Floats, share: Floats) -> tuple[Floats, Floats]:
    """Chance of as few (as many) right ones at a true share; exact for whole numbers."""
    from scipy.stats import beta

    few = np.where(wrong > 0, beta.sf(share, right + 1, np.maximum(wrong, _ROUNDING)), 1.0)
    many = np.where(right > 0, beta.cdf(share, np.maximum(right, _ROUNDING), wrong + 1), 1.0)
    return few, many


def _shares(groups: Moments, rest: Moments) -> Floats:
    """Binomial test, on average over what the share of the rest may be (Jeffreys)."""
    from scipy.stats import beta, norm

    right, wrong, rest_right, rest_wrong = (
        (part.effective * share)[:, None]
        for part in (groups, rest)
        for share in (part.gains, 1 - part.gains)
    )
    nodes = _NODES[_NODES >= 0]
    a, b = rest_right + 0.5, rest_wrong + 0.5
    upper, lower = beta.isf(norm.sf(nodes), a, b), beta.ppf(norm.cdf(-nodes[:0:-1]), a, b)
    weight = norm.pdf(_NODES) / norm.pdf(_NODES).sum()
    tails = _tails(right, wrong, np.concatenate([lower, upper], axis=1))
    return _two_sided(*(tail @ weight for tail in tails))


def _welch(groups: Moments, rest: Moments | None) -> Floats:
    from scipy.stats import t

    parts = [groups] if rest is None else [groups, rest]
    errors = [part.variance / part.effective for part in parts]
    difference = groups.mean - (0.0 if rest is None else rest.mean)
    scale = groups.mean**2 + difference**2
    error = np.where(groups.variance > _ROUNDING * scale, sum(errors), np.nan)
    freedom = error**2 / sum(
        e**2 / np.maximum(part.effective - 1, _ROUNDING)
        for e, part in zip(errors, parts, strict=True)
    )
    # The third cumulant of the difference, in standard errors.
    third = sum(
        sign * part.skewness * part.variance**1.5 / part.effective**2
        for sign, part in zip((1, -1), parts, strict=False)
    )
    return 2 * t.sf(np.abs(_unskewed(difference / np.sqrt(error), third / error**1.5)), freedom)


def _unskewed(statistic: Floats, skew: Floats) -> Floats:
    """Hall's monotone transformation, which takes the skewness out of Student's t."""
    bent = skew / 3
    return statistic + bent * statistic**2 + bent**2 * statistic**3 / 3 + skew / 6

"""How far groups are from one another, criterion by criterion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
from numpy.typing import ArrayLike

from ...errors import DataError
from .concordance import agreement_test, mean_tau
from .shuffling import ROUNDING, PermutationTest
from .tables import Floats, check_names, finite_ratings, mean_table

_FILL_IN: Final = 0.1


@final
@dataclass(frozen=True, eq=False)
class Disagreement:
    """Disagreement of groups over the same options, criterion by criterion.

    Attributes:
        groups: G names.
        criteria: C names.
        mean: ``(G, C)`` mean rating over the options, in the unit of the scale.
        distance: ``(G, C)`` mean absolute distance to the mean of the other groups.
        sd: ``(C,)`` standard deviation over groups (divided by G), mean over options.
        range: ``(C,)`` largest gap between two groups, mean over options.
        agreement: for each criterion Kendall's W with its permutation test.
        tau: ``(C,)`` mean of Kendall's tau-b over pairs of groups.
        fill_ins: groups that are a weighted mean of the others; they add no opinion of
            their own, so leave them out of tests.
    """

    groups: tuple[str, ...]
    criteria: tuple[str, ...]
    mean: Floats
    distance: Floats
    sd: Floats
    range: Floats
    agreement: tuple[PermutationTest, ...]
    tau: Floats
    fill_ins: tuple[str, ...]

    def least_agreed(self) -> str:
        """The criterion with the lowest Kendall's W."""
        return self.criteria[int(np.argmin([test.value for test in self.agreement]))]

    def to_json(self) -> dict[str, Any]:
        """Plain values, which the report of a decision draws."""
        arrays = ("mean", "distance", "sd", "range", "tau")
        plain: dict[str, Any] = {name: getattr(self, name).tolist() for name in arrays}
        names = {"groups": list(self.groups), "criteria": list(self.criteria)}
        tests = [test.to_json() for test in self.agreement]
        return {**names, **plain, "agreement": tests, "fill_ins": list(self.fill_ins)}


def disagreement(
    means: ArrayLike,
    *,
    groups: Sequence[str],
    criteria: Sequence[str],
    n_permutations: int = 999,
    seed: int = 0,
) -> Disagreement:
    """Measure how groups differ over the same options before anything is averaged.

    Use it before a negotiation, to see which group and which criterion an average would
    hide. It needs every group's rating of every option; with single raters ask
    :func:`group_effect` whether groups differ more than chance makes them.

    Args:
        means: ``(G, S, C)`` mean rating of group, option and criterion.
        groups: G names.
        criteria: C names.
        n_permutations: shuffles for the tests of Kendall's W, at least 99.
        seed: of the shuffles.

    Returns:
        The statistics by group and criterion.

    Raises:
        DataError: if the ratings are not finite, not of three axes, have fewer than two
            groups or options, or do not fit the names.
        ParameterError: if ``n_permutations`` is below 99.

    Example:
        >>> ratings = [[[3], [1], [2]], [[1], [3], [2]]]
        >>> found = disagreement(ratings, groups=("a", "b"), criteria=("access",))
        >>> found.distance.round(3).tolist(), found.agreement[0].value
        ([[1.333], [1.333]], 0.0)

    Differs from the paper: which statistics the paper used was not found; these are ours.

    References:
        Mushkani, Berard and Koseki, 2025, arXiv 2503.12613.
    """
    given = mean_table(means)
    check_names(groups, given.shape[0], "groups")
    check_names(criteria, given.shape[2], "criteria")
    columns = [given[:, :, c] for c in range(given.shape[2])]
    fills = zip(groups, fill_in_shares(given), strict=True)
    return Disagreement(
        groups=tuple(groups),
        criteria=tuple(criteria),
        mean=given.mean(axis=1),
        distance=distance_to_others(given),
        sd=given.std(axis=0).mean(axis=0),
        range=np.ptp(given, axis=0).mean(axis=0),
        agreement=tuple(agreement_test(c, n_permutations, seed) for c in columns),
        tau=np.array([mean_tau(column) for column in columns]),
        fill_ins=tuple(name for name, share in fills if share < _FILL_IN),
    )


def distance_to_others(means: ArrayLike) -> Floats:
    """Mean absolute distance of each group to the mean of the other groups.

    Args:
        means: ``(G, S, C)`` ratings of group, option and criterion.

    Returns:
        ``(G, C)``, ``D_gc = mean_s |X_gsc - mean_{h != g} X_hsc|``, in the scale's unit.

    Raises:
        DataError: if the ratings cannot be used.

    Example:
        >>> distance_to_others([[[3.0], [1.0]], [[1.0], [1.0]], [[1.0], [1.0]]]).tolist()
        [[1.0], [0.5], [0.5]]
    """
    given = mean_table(means)
    others = (given.sum(axis=0) - given) / (len(given) - 1)
    return np.abs(given - others).mean(axis=1)


def deviation_from_mean(means: ArrayLike) -> Floats:
    """Signed distance of each group to the mean of all groups.

    Args:
        means: ratings whose first axis is the group.

    Returns:
        The same shape; sums to 0 over groups.

    Raises:
        DataError: if there are fewer than two groups or a rating is not finite.

    Example:
        >>> deviation_from_mean([[3.0, 2.0], [1.0, 2.0]]).tolist()
        [[1.0, 0.0], [-1.0, 0.0]]
    """
    given = finite_ratings(means, "means")
    return given - given.mean(axis=0)


def change(before: ArrayLike, after: ArrayLike) -> Floats:
    """How a discussion changed each group's distance to the others.

    A distance that falls was a lack of information; one that stays is a conflict of values.

    Args:
        before: ``(G, S, C)`` ratings before the discussion.
        after: the same groups, options and criteria after it.

    Returns:
        ``(G, C)``, negative where groups came closer.

    Raises:
        DataError: if the ratings cannot be used or their shapes differ.

    Example:
        >>> change([[[4.0]] * 2, [[1.0]] * 2], [[[3.0]] * 2, [[1.0]] * 2]).tolist()
        [[-1.0], [-1.0]]
    """
    first, last = mean_table(before), mean_table(after)
    if first.shape != last.shape:
        raise DataError(f"before and after must be alike; got {first.shape} and {last.shape}.")
    return distance_to_others(last) - distance_to_others(first)


def correlations(means: ArrayLike) -> Floats:
    """Pearson correlation between groups over the options, for each criterion.

    Args:
        means: ``(G, S, C)`` ratings of group, option and criterion.

    Returns:
        ``(C, G, G)``; NaN where a group rates all options alike.

    Raises:
        DataError: if the ratings cannot be used.

    Example:
        >>> correlations([[[1.0], [2.0]], [[4.0], [3.0]]])[0].round(6).tolist()
        [[1.0, -1.0], [-1.0, 1.0]]
    """
    given = mean_table(means)
    centred = given - given.mean(axis=1, keepdims=True)
    products = np.einsum("gsc,hsc->cgh", centred, centred)
    scale = np.sqrt(np.einsum("cgg->cg", products))
    scale = np.where(scale > ROUNDING, scale, np.nan)
    return products / scale[:, :, None] / scale[:, None, :]


def fill_in_shares(means: ArrayLike) -> Floats:
    """What of each group's ratings no weighted mean of the other groups explains.

    A column close to 0 was probably filled in from the others, and is nobody's opinion.
    Non-negative weights are fitted over all options and criteria.

    Args:
        means: ``(G, S, C)`` ratings of group, option and criterion.

    Returns:
        ``(G,)`` root mean square of what is left over the standard deviation; 1 where fewer
        options and criteria than groups are known, and where a group rates all alike.

    Raises:
        DataError: if the ratings cannot be used.

    Example:
        >>> a, b = [[1.0], [4.0], [2.0], [3.0]], [[2.0], [1.0], [4.0], [4.0]]
        >>> mean = [[1.5], [2.5], [3.0], [3.5]]
        >>> fill_in_shares([a, b, mean]).round(2).tolist()[2]
        0.0
    """
    given = mean_table(means)
    flat = given.reshape(len(given), -1)
    if flat.shape[1] <= len(flat):
        return np.ones(len(flat))
    return np.array([_unexplained(flat, group) for group in range(len(flat))])


def _unexplained(flat: Floats, group: int) -> float:
    from scipy.optimize import nnls

    target = flat[group]
    deviation = float(target.std())
    if deviation <= ROUNDING:
        return 1.0
    residual = float(nnls(np.delete(flat, group, axis=0).T, target)[1])
    return residual / np.sqrt(len(target)) / deviation

"""What a package does to the groups together: total, worst group, inequality, satisfaction."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..errors import DataError, DataQualityWarning, ParameterError
from ..rules import Within, shown
from .fields import Floats
from .problem import PackageProblem


def gini(utilities: ArrayLike) -> float:
    r"""Gini coefficient of what the groups get: 0 if all get the same.

    :math:`\sum_{gh} |u_g - u_h| / (2 G^2 \bar u)`, in [0, (G-1)/G]. Not for utilities that can
    be negative: a share of nothing has no meaning.

    Args:
        utilities: ``(G,)``, >= 0.

    Raises:
        DataError: for a negative utility.

    Example:
        >>> gini([1, 2, 3, 4]), gini([0, 0, 0, 1])
        (0.25, 0.75)
    """
    given = np.asarray(utilities, dtype=np.float64)
    if not given.size or not np.isfinite(given).all():
        raise DataError(f"utilities must be finite numbers, at least one; got {shown(utilities)}.")
    if (given < 0).any():
        raise DataError(
            f"the Gini coefficient needs utilities >= 0; got {given.min():g}: measure them from "
            "a lower point, or leave it out."
        )
    mean = float(given.mean())
    if mean == 0:
        warnings.warn("all utilities are 0; Gini is taken as 0.", DataQualityWarning, stacklevel=2)
        return 0.0
    ordered = np.sort(given)
    places = 2 * np.arange(1, len(given) + 1) - len(given) - 1
    return float(places @ ordered) / (len(given) ** 2 * mean)


def satisfaction(compared: ArrayLike) -> Floats:
    """Each group's place between the worst and the best of the designs compared.

    1 says only that a design is a group's best *among these*; adding a bad design raises
    everybody. A group to which all designs are equal has 1.

    Args:
        compared: ``(D, G)`` utilities of D designs.

    Returns:
        ``(D, G)`` in [0, 1].

    Example:
        >>> satisfaction([[2, 5], [3, 5], [4, 5]]).tolist()
        [[0.0, 1.0], [0.5, 1.0], [1.0, 1.0]]
    """
    table = np.asarray(compared, dtype=np.float64)
    low, way = table.min(axis=0), np.ptp(table, axis=0)
    return np.where(way > 0, (table - low) / np.where(way > 0, way, 1.0), 1.0)


def person_total(problem: PackageProblem, utilities: ArrayLike) -> float | None:
    """Sum over people of the mean of their groups' utilities; ``None`` without ``members``."""
    if problem.members is None:
        return None
    held = np.asarray(problem.members, dtype=np.float64)
    return float((held @ np.asarray(utilities, dtype=np.float64) / held.sum(axis=1)).sum())


def measures(
    problem: PackageProblem,
    utilities: ArrayLike,
    *,
    compared: Sequence[ArrayLike] = (),
    percentile: float = 20.0,
) -> dict[str, Any]:
    """Total, worst group, Gini and percentile satisfaction of what the groups get.

    Use it to set decisions side by side. Satisfaction depends on what is compared; name it.

    Args:
        problem: names of the groups, and who belongs to them.
        utilities: ``(G,)`` of one package.
        compared: utilities of the other designs of the comparison.
        percentile: of satisfaction over groups, in [0, 100], by linear interpolation.

    Returns:
        ``total``, ``person_total`` (a person in several groups counts once; ``None`` without
        members), ``worst`` (group, value), ``gini`` (``None`` if a utility is negative),
        ``satisfaction`` (G), ``percentile`` (q, value).

    Raises:
        ParameterError: for a percentile outside [0, 100].

    Example:
        >>> problem = PackageProblem([[3, 0], [0, 2]], cost=[1, 1], budget=2)
        >>> found = measures(problem, [3, 2], compared=[[0, 0]])
        >>> found["total"], found["worst"], found["gini"], found["percentile"]
        (5.0, {'group': 'group 1', 'value': 2.0}, 0.1, {'q': 20.0, 'value': 1.0})
    """
    if not Within(0.0, 100.0).admits(percentile):
        raise ParameterError(
            f"percentile must be a finite number in [0.0, 100.0]; got {shown(percentile)}."
        )
    given = np.asarray(utilities, dtype=np.float64)
    if given.shape != (problem.shape[0],) or not np.isfinite(given).all():
        raise DataError(
            f"utilities must be {problem.shape[0]} finite numbers, one for each group; got "
            f"{shown(utilities)}."
        )
    worst = int(np.argmin(given))
    share = satisfaction([given, *(np.asarray(one, dtype=np.float64) for one in compared)])[0]
    return {
        "total": float(given.sum()),
        "person_total": person_total(problem, given),
        "worst": {"group": problem.group_names[worst], "value": float(given[worst])},
        "gini": None if (given < 0).any() else gini(given) if given.any() else 0.0,
        "satisfaction": [float(value) for value in share],
        "percentile": {"q": float(percentile), "value": float(np.percentile(share, percentile))},
    }

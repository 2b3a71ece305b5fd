"""How much a package hangs on who was asked: bootstrap over raters."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, final

import numpy as np
from numpy.typing import ArrayLike

from ..errors import DataError
from ..rules import Within, check
from .concepts import solve
from .fields import Floats
from .problem import PackageProblem
from .weights import table


@final
@dataclasses.dataclass(frozen=True, kw_only=True)
class _Options:
    n: Annotated[int, Within(1, integer=True)]
    confidence: Annotated[float, Within(0.0, 1.0, closed="neither")]
    seed: Annotated[int, Within(0, integer=True)]


def bootstrap(
    problem: PackageProblem,
    ratings: ArrayLike,
    concept: str = "kalai_smorodinsky",
    *,
    n: int = 200,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, Any]:
    """Decide again and again with raters drawn anew, and count what stays.

    Use it with few raters, where a group's mean is noisy. People are drawn within those who
    belong to the same groups, so no group is ever empty; a group of one person cannot vary.

    Args:
        problem: with ``members``, (P, G).
        ratings: ``(P, m)``, what each item is worth to each person; a group's value is the mean.
        concept: as of :func:`solve`.
        n: draws.
        confidence: of the percentile intervals.
        seed: of the draws.

    Returns:
        ``items`` with the share of draws that choose them, intervals of each group's utility,
        of the total and of the worst group: see :mod:`pluralign.decide.decision`.

    Raises:
        DataError: without members, or for ratings that do not fit them.

    Example:
        >>> ratings = [[3.0, 0.0], [3.0, 0.5], [0.0, 2.0], [0.5, 2.0]]
        >>> problem = PackageProblem([[3, 0.25], [0.25, 2]], cost=[1, 1], budget=1,
        ...                          members=[[1, 0], [1, 0], [0, 1], [0, 1]])
        >>> found = bootstrap(problem, ratings, "utilitarian", n=20)
        >>> [row["share"] for row in found["items"]]
        [1.0, 0.0]
    """
    check(_Options(n=n, confidence=confidence, seed=seed))
    if problem.members is None:
        raise DataError("a bootstrap over raters needs members: who belongs to which group.")
    given = table(ratings, "ratings", None)
    held = np.asarray(problem.members, dtype=np.float64)
    if given.shape != (len(held), problem.shape[1]) or not np.isfinite(given).all():
        raise DataError(
            f"ratings must be finite, of shape {(len(held), problem.shape[1])}; got shape "
            f"{given.shape}."
        )
    draw = np.random.default_rng(seed)
    _, kind = np.unique(held, axis=0, return_inverse=True)
    strata = [np.flatnonzero(kind.ravel() == k) for k in range(int(kind.max()) + 1)]
    chosen, utilities = np.zeros(problem.shape[1]), np.empty((n, problem.shape[0]))
    for number in range(n):
        people = np.concatenate([draw.choice(rows, len(rows)) for rows in strata])
        values = held[people].T @ given[people] / held[people].sum(axis=0)[:, None]
        decision = solve(problem.changed(values=values), concept)
        chosen[list(decision.package)] += 1
        utilities[number] = decision.utilities
    point = held.T @ given / held.sum(axis=0)[:, None]
    truth = np.array(solve(problem.changed(values=point), concept).utilities)
    return {
        "n": n,
        "confidence": confidence,
        "items": [
            {"item": name, "share": float(share)}
            for name, share in zip(problem.item_names, chosen / n, strict=True)
        ],
        "groups": [
            {"name": name, **_interval(truth[g], utilities[:, g], confidence)}
            for g, name in enumerate(problem.group_names)
        ],
        "total": _interval(truth.sum(), utilities.sum(axis=1), confidence),
        "worst": _interval(truth.min(), utilities.min(axis=1), confidence),
    }


def _interval(value: float, drawn: Floats, confidence: float) -> dict[str, float]:
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return {"value": float(value), "low": float(low), "high": float(high)}

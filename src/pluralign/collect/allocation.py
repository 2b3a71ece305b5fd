"""The best allocation of a budget when the curves are known, exactly and for many groups."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .curves import PowerCurves
from .general import solve_general
from .levels import solved
from .problem import Allocation, Problem, evaluated, warn
from .welfare import (
    Isoelastic,
    Objective,
    ParityPenalised,
    check_objective,
)


def allocate(
    curves: PowerCurves,
    *,
    cost: ArrayLike,
    budget: float,
    objective: Objective | None = None,
    weights: ArrayLike | None = None,
    held: ArrayLike = 0.0,
    limit: ArrayLike = np.inf,
    best: float = 1.0,
    transfer: ArrayLike | None = None,
) -> Allocation:
    r"""How many samples of each group maximise the welfare of all, as real numbers.

    Use it when the curves are known or fitted. Counts are not rounded: see
    :func:`allocate_whole`. Do not use it to compare groups whose curves are guesses;
    :class:`AdaptiveSampler` buys in rounds and refits.

    :math:`\max \sum_g w_g u(\mathrm{best} - a_g - b_g n_g^{-\gamma_g})` subject to
    :math:`\sum_g c_g (n_g - n^0_g) \le B,\ n^0_g \le n_g \le N_g`. Every group that is bought
    from, and is not exhausted, has the same gain a unit of money.

    Args:
        curves: of G groups.
        cost: price of a sample, > 0.
        budget: money on top of what is held, > 0.
        objective: ``Isoelastic(eps=1)`` if not given.
        weights: welfare weights, normalised; equal if not given. A group of weight 0 does not
            count under any objective.
        held: samples that each group has already.
        limit: samples that each group can have at most.
        best: performance is ``best - loss``.
        transfer: ``(G, G)``; a sample of group h is worth ``transfer[g, h]`` of one's own to
            group g; in [0, 1] with 1 on the diagonal. Solved by a general method then.

    Returns:
        The allocation with predicted loss of every group.

    Raises:
        ParameterError: for values out of range; for an objective that needs positive
            performance, the group that cannot have it.

    Example:
        >>> curves = PowerCurves(a=0.0, b=[1.0, 4.0], gamma=1.0)
        >>> allocate(curves, cost=1, budget=100, objective=Isoelastic(eps=0)).counts.round(2)
        array([33.33, 66.67])

    Differs from the paper: ours; the paper's own formulation was not to be had.

    References:
        Cai et al., 2022, arXiv 2202.01327.
    """
    problem = Problem(curves, cost, budget, weights, held, limit, best, transfer)
    goal = Isoelastic() if objective is None else objective
    check_objective(goal)
    if transfer is not None or isinstance(goal, ParityPenalised):
        return solve_general(problem, goal)
    if not problem.open_groups().any():
        warn("allocate: no group can gain from more samples (b = 0 everywhere); nothing is bought.")
        return evaluated(problem, problem.arrays()[2], goal, 0.0)
    counts, multiplier = solved(problem, goal)
    return evaluated(problem, counts, goal, multiplier)

"""``solve`` and ``compare``: one problem, any concept."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Annotated, final

from ..errors import ParameterError
from ..rules import Within, check, nearest
from .bargaining import negotiate
from .decision import Decision
from .enumeration import EXACT_LIMIT, RANKINGS
from .problem import PackageProblem
from .shares import equal_shares
from .solving import Solver

CONCEPTS = ("negotiate", *RANKINGS, "equal_shares")
"""What :func:`solve` knows."""


@final
@dataclasses.dataclass(frozen=True, kw_only=True)
class _Options:
    exact_limit: Annotated[int, Within(1, 25, integer=True)]
    time_limit: Annotated[float, Within(0.0, closed="neither")]


def solve(
    problem: PackageProblem,
    concept: str = "negotiate",
    *,
    exact_limit: int = EXACT_LIMIT,
    time_limit: float = 60.0,
) -> Decision:
    r"""The package that one concept chooses among all that leave nobody below disagreement.

    Use it where the concept is agreed on; :func:`compare` shows what each would choose. Not
    where groups must be able to follow how a compromise came about: :func:`negotiate`.

    With gains :math:`u_g - d_g` and ideals :math:`I_g = \max u_g` over individually rational x:

    - ``utilitarian``: :math:`\max \sum_g w_g u_g`
    - ``egalitarian``: :math:`\max \min_g (u_g - d_g)`
    - ``leximin``: the worst utility as large as possible, then the second worst, and so on
    - ``nash``: most groups that gain, then :math:`\max \sum_g w_g \log(u_g - d_g)`
    - ``kalai_smorodinsky``: leximin of :math:`(u_g - d_g)/(I_g - d_g)`
    - ``min_max_regret``: :math:`\min \max_g (I_g - u_g)`
    - ``equal_shares``: see :func:`equal_shares`
    - ``negotiate``: see :func:`negotiate`, with its usual options

    Of packages that are equal by the concept the cheapest is taken, then the one with the
    earliest items; ``utilitarian``, ``egalitarian`` and ``min_max_regret`` look at the total
    first, so that no package is chosen that a group could leave better off at nobody's cost.

    Args:
        problem: items, groups, budget.
        concept: one of the above.
        exact_limit: up to so many items (1..25) every package is looked at. Beyond, prices of
            the relaxed problem leave few packages to look at; where they are too many, HiGHS
            searches.
        time_limit: seconds for HiGHS, less what looking for few packages took, at least a quarter;
            then the best known is returned with ``optimal=False`` and its ``gap``.

    Returns:
        The decision; of status ``disagreement`` where no package is individually rational.

    Raises:
        ParameterError: for an unknown concept, a limit out of range, or groups that no
            affordable package brings to their disagreement point.

    Example:
        >>> problem = PackageProblem([[3, 0, 1], [0, 2, 1]], cost=[2, 2, 1], budget=4)
        >>> solve(problem, "utilitarian").utilities, solve(problem, "leximin").utilities
        ((4.0, 1.0), (3.0, 2.0))

    Differs from the paper: ours; established concepts to hold the negotiation against.

    References:
        Nash, 1950, The bargaining problem, Econometrica 18. Kalai and Smorodinsky, 1975, Other
        solutions to Nash's bargaining problem, Econometrica 43.
    """
    check(_Options(exact_limit=exact_limit, time_limit=time_limit))
    if concept not in CONCEPTS:
        raise ParameterError(f"concept {concept!r} is unknown; {nearest(str(concept), CONCEPTS)}")
    if concept == "equal_shares":
        return equal_shares(problem)
    if concept == "negotiate":
        return negotiate(problem, exact_limit=exact_limit, time_limit=time_limit)
    return Solver(problem, exact_limit=exact_limit, time_limit=time_limit).decide(concept)


def compare(
    problem: PackageProblem,
    concepts: Sequence[str] | None = None,
    *,
    exact_limit: int = EXACT_LIMIT,
    time_limit: float = 60.0,
) -> tuple[Decision, ...]:
    """What each concept decides; those of :func:`solve` in their order if none are named.

    Use it before a concept is agreed on. It says nothing about which is right.

    Args:
        problem: items, groups, budget.
        concepts: names; all if not given.
        exact_limit: as of :func:`solve`; so is ``time_limit``, for each concept.
        time_limit: seconds.

    Returns:
        One decision for each concept.

    Raises:
        ParameterError: as :func:`solve`.

    Example:
        >>> problem = PackageProblem([[3, 0, 1], [0, 2, 1]], cost=[2, 2, 1], budget=3)
        >>> [one.choice for one in compare(problem, ("utilitarian", "nash"))]
        [('item 0', 'item 2'), ('item 0', 'item 2')]
    """
    names = CONCEPTS if concepts is None else concepts
    return tuple(
        solve(problem, name, exact_limit=exact_limit, time_limit=time_limit) for name in names
    )

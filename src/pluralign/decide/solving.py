"""One problem solved by any concept that ranks packages, exactly where it can be."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, final

import numpy as np

from ..errors import ParameterError
from .decision import Decision, decided, status_quo
from .enumeration import EXACT_LIMIT, RANKINGS, Designs, Frame, all_designs, chosen, designs_of
from .fields import Floats
from .problem import PackageProblem
from .search import Aim, search
from .solver import Clock, Solved, best_by_program
from .swaps import harmless, swapped


@final
class Solver:
    """One problem, prepared once for several concepts.

    Args:
        problem: items, groups, budget.
        exact_limit: up to so many items every package is looked at.
        time_limit: seconds for the mixed-integer solver, for each question.
        forced: items that must be in (true) or out (false).
    """

    def __init__(
        self,
        problem: PackageProblem,
        *,
        exact_limit: int = EXACT_LIMIT,
        time_limit: float = 60.0,
        forced: Mapping[int, bool] | None = None,
    ) -> None:
        self.problem, self.time_limit, self.forced = problem, time_limit, dict(forced or {})
        self.small = problem.shape[1] <= exact_limit
        self._refuse_unreachable()

    @cached_property
    def everything(self) -> Designs:
        """Every package; of small problems only."""
        return all_designs(self.problem, self.forced)

    @cached_property
    def designs(self) -> Designs:
        """Every individually rational package; of small problems only."""
        return self.everything.rational()

    @cached_property
    def frame(self) -> Frame:
        """Ideals, proved or (where the solver ran out of time) bounds of them."""
        groups = self.problem.shape[0]
        if self.small:
            return Frame(self.problem, self.designs.utilities.max(axis=0))
        ideal = np.array([self._most(np.eye(groups)[g]) for g in range(groups)])
        return Frame(self.problem, ideal)

    def decide(self, concept: str) -> Decision:
        """What a concept of ``RANKINGS`` chooses."""
        if not self.small:
            return self._noted(self._searched(concept))
        if not len(self.designs):
            return status_quo(self.problem, concept)
        row = chosen(self.designs, self.frame, RANKINGS[concept])
        return self._noted(decided(self.problem, concept, self.designs.package(row)))

    def aim(self, concept: str) -> Aim:
        """What a concept looks at first."""
        groups, problem = self.problem.shape[0], self.problem
        zero, one = np.zeros(groups), np.ones(groups)
        if concept == "utilitarian":
            return Aim("sum", zero, one, problem.shares)
        if concept in ("egalitarian", "leximin"):
            return Aim("least", problem.point if concept == "egalitarian" else zero, one, one)
        if concept == "min_max_regret":
            return Aim("least", self.frame.ideal, one, one)
        way = self.frame.ideal - problem.point
        open_ = (way > problem.tolerance).astype(np.float64)
        if concept == "nash":
            return Aim("logs", problem.point, one, problem.shares * open_)
        return Aim("least", problem.point, np.where(open_ > 0, way, 1.0), open_)

    def best(self, aim: Aim) -> tuple[Designs | None, Solved | None]:
        """All packages with the largest aim; or the mixed-integer solver's best, with its bound."""
        if aim.kind != "sum" and not (aim.share > 0).any():
            aim = Aim("sum", aim.origin, aim.way, np.zeros(len(aim.way)))
        if self.small:
            value = aim.value(self.designs.utilities)
            return self.designs.at(
                np.flatnonzero(value >= value.max() - self.problem.tolerance)
            ), None
        clock = Clock(self.time_limit)
        found = search(self.problem, aim, self.forced)
        if found.designs is not None or not found.possible:
            return found.designs, None
        # Time that the search took is not left; a quarter always is, so that there is an answer.
        left = Clock(max(clock.left(self.time_limit), self.time_limit / 4))
        solved = best_by_program(self.problem, aim, self.forced, left)
        bound = min(found.bound, solved.bound)
        return None, dataclasses.replace(solved, bound=bound)

    def _searched(self, concept: str) -> Decision:
        problem, ranking = self.problem, RANKINGS[concept]
        if self.possible is False:
            return status_quo(problem, concept)
        aim = self.aim(concept)
        designs, solved = self.best(aim)
        frame = self.frame if concept in _NEED_IDEALS else Frame(problem, problem.point)
        if designs is not None:
            package = designs.package(chosen(designs, frame, ranking))
            return decided(problem, concept, package, **self._proof(concept, package))
        if solved is None or (solved.package is None and solved.optimal):
            return status_quo(problem, concept)
        known = [p for p in (solved.package, ()) if p is not None and problem.accepts(p)]
        if not known:
            return status_quo(problem, concept, optimal=False, gap=None)
        designs = designs_of(problem, known)
        package = designs.package(chosen(designs, frame, ranking))
        # What the time did not allow to prove shall at least leave no money that harms nobody.
        while not self.forced and (item := harmless(problem, package)) is not None:
            package = swapped(package, None, item)
        value = float(aim.value(problem.utilities(package)))
        return decided(problem, concept, package, optimal=False, gap=_gap(aim, value, solved.bound))

    @cached_property
    def possible(self) -> bool | None:
        """Whether a package is individually rational; ``None`` if that is not known."""
        return True if self.problem.accepts(()) and not self.forced else None

    def _most(self, share: Floats) -> float:
        groups = self.problem.shape[0]
        designs, solved = self.best(Aim("sum", np.zeros(groups), np.ones(groups), share))
        if designs is not None:
            return float((designs.utilities @ share).max())
        return -np.inf if solved is None else solved.bound

    def _proof(self, concept: str, package: Sequence[int]) -> dict[str, Any]:
        """Nash: that no other package lets more groups gain is known only if all gain."""
        if concept != "nash":
            return {}
        tolerance = self.problem.tolerance
        gains = self.problem.utilities(package) - self.problem.point > tolerance
        could = self.frame.ideal - self.problem.point > tolerance
        if (gains == could).all():
            return {}
        note = "not every group that could gain gains; another package may let more groups gain."
        return {"optimal": False, "gap": None, "notes": (note,)}

    def _noted(self, decision: Decision) -> Decision:
        cheapest = float(self.problem.prices.min())
        if self.problem.limit >= cheapest:
            return decision
        note = f"the budget is below the cheapest item, which costs {cheapest:g}."
        return dataclasses.replace(decision, notes=(*decision.notes, note))

    def _refuse_unreachable(self) -> None:
        problem = self.problem
        short = np.flatnonzero(problem.start < problem.point - problem.tolerance)
        if not len(short):
            return
        if self.small:
            most = self.everything.utilities.max(axis=0, initial=-np.inf)
        else:
            most = problem.start + np.maximum(problem.value_table, 0).sum(axis=1)
        never = [problem.group_names[g] for g in short if most[g] < problem.point[g]]
        if never:
            raise ParameterError(
                f"disagreement: no affordable package brings {', '.join(map(repr, never))} to the "
                "disagreement point; lower it or raise the budget."
            )


_NEED_IDEALS = ("kalai_smorodinsky", "min_max_regret", "nash")


def _gap(aim: Aim, value: float, bound: float) -> float | None:
    """What is missing at most, as a share; of logs, as a share of the weighted product."""
    if not np.isfinite(bound) or not np.isfinite(value):
        return None
    missing = max(0.0, bound - value)
    if aim.kind == "logs":
        return float(np.expm1(missing))
    return missing / abs(value) if value else None

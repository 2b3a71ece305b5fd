"""Mixed-integer programs over packages, solved by HiGHS through SciPy."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast, final

import numpy as np

from .fields import Floats
from .problem import PackageProblem
from .search import Aim

_ABSOLUTE = 1e-6  # HiGHS stops at this absolute gap; the objective is scaled against it
_SHARP = 10.0
_CUTS = 50


@final
@dataclass(frozen=True, eq=False)
class Solved:
    """One program's result.

    Attributes:
        package: the best found; ``None`` if there is none, or none was found in time.
        value: its objective.
        bound: no package has more.
        optimal: whether the two met.
    """

    package: tuple[int, ...] | None
    value: float
    bound: float
    optimal: bool


@final
class Program:
    """Packages as binary columns, utilities scaled to 1 as rows, and what stages add.

    Columns 0..m-1 are the items. Rows are mappings from column to coefficient with a lower and
    an upper bound.

    Args:
        problem: budget, conflicts, requirements, disagreement point.
        forced: items that must be in or out.
        rational: whether no group may be below its disagreement point.
        seconds: for each single program.
    """

    def __init__(
        self,
        problem: PackageProblem,
        forced: Mapping[int, bool] | None = None,
        *,
        rational: bool = True,
        seconds: float = 60.0,
    ) -> None:
        self.problem, self.seconds, self._rational = problem, seconds, rational
        self.scale = problem.scale
        items = problem.shape[1]
        self._low, self._high = [0.0] * items, [1.0] * items
        self._integer = [1] * items
        self._rows: list[tuple[dict[int, float], float, float]] = []
        self.row(dict(enumerate(problem.prices / (problem.budget or 1.0))), high=_one(problem))
        for i, j in problem.excluded:
            self.row({i: 1.0, j: 1.0}, high=1.0)
        for i, j in problem.needed:
            self.row({i: 1.0, j: -1.0}, high=0.0)
        for item, chosen in (forced or {}).items():
            self._low[item] = self._high[item] = float(chosen)
        if rational:
            for group in range(problem.shape[0]):
                coefficients, constant = self.level(group, problem.point[group], self.scale)
                self.row(coefficients, low=-constant - 1e-9)

    def level(self, group: int, origin: float, way: float) -> tuple[dict[int, float], float]:
        """``(u_g - origin) / way`` as coefficients of the items and a constant."""
        values = self.problem.value_table[group] / way
        constant = (self.problem.start[group] - origin) / way
        return {int(j): float(values[j]) for j in np.flatnonzero(values)}, float(constant)

    def column(self, low: float, high: float, *, integer: bool = False) -> int:
        """A further column; its number."""
        self._low.append(low)
        self._high.append(high)
        self._integer.append(int(integer))
        return len(self._low) - 1

    def row(
        self, coefficients: Mapping[int, float], *, low: float = -np.inf, high: float = np.inf
    ) -> None:
        """A further row."""
        self._rows.append((dict(coefficients), low, high))

    def maximise(self, objective: Mapping[int, float]) -> Solved:
        """The best package; what rounding makes inadmissible is cut off and sought again."""
        for _ in range(_CUTS):
            x, value, bound, optimal = self._run(objective, self._integer)
            if x is None:
                return Solved(None, -np.inf, bound, optimal)
            package = tuple(int(j) for j in np.flatnonzero(x[: self.problem.shape[1]] > 0.5))
            if self.problem.allows(package) and (
                not self._rational or self.problem.accepts(package)
            ):
                return Solved(package, value, bound, optimal)
            self._forbid(package)
        return Solved(None, -np.inf, np.inf, False)

    def _forbid(self, package: Sequence[int]) -> None:
        held = set(package)
        signs = {j: -1.0 if j in held else 1.0 for j in range(self.problem.shape[1])}
        self.row(signs, low=1.0 - len(held))

    def _run(
        self, objective: Mapping[int, float], integer: Sequence[int]
    ) -> tuple[Floats | None, float, float, bool]:
        """Columns, value, upper bound, and whether value is the maximum."""
        from scipy.optimize import Bounds, LinearConstraint, milp
        from scipy.sparse import csr_array

        weights = np.zeros(len(self._low))
        for column, weight in objective.items():
            weights[column] += weight
        size = float(np.abs(weights).max()) or 1.0
        entries = [(r, c, v) for r, (row, _, _) in enumerate(self._rows) for c, v in row.items()]
        rows, columns, values = zip(*entries, strict=True)
        matrix = csr_array((values, (rows, columns)), shape=(len(self._rows), len(weights)))
        low, high = np.array([one[1:] for one in self._rows]).T
        found = cast(
            Any,
            milp(
                -_SHARP * weights / size,
                integrality=integer,
                bounds=cast(Any, Bounds)(self._low, self._high),
                constraints=cast(Any, LinearConstraint)(matrix, low, high),
                options={"time_limit": self.seconds, "mip_rel_gap": 0.0},
            ),
        )
        back = size / _SHARP
        if found.x is None:
            infeasible = found.status == 2
            return None, -np.inf, -np.inf if infeasible else np.inf, infeasible
        value = -float(found.fun) * back
        dual = getattr(found, "mip_dual_bound", None)
        bound = value if dual is None or not np.isfinite(dual) else -float(dual) * back
        return np.asarray(found.x), value, max(value, bound), found.status == 0


def best_by_program(
    problem: PackageProblem, aim: Aim, forced: Mapping[int, bool], clock: Clock
) -> Solved:
    """The package with the largest aim, as far as HiGHS gets in the time that is left."""
    program = Program(problem, forced, seconds=clock.left(np.inf))
    groups = [int(g) for g in np.flatnonzero(aim.share > 0)]
    if aim.kind == "logs":
        return _logs(program, aim, groups, clock)
    scale = program.scale
    levels = {g: program.level(g, aim.origin[g], aim.way[g] * scale) for g in groups}
    if aim.kind == "least":
        least = program.column(-np.inf, np.inf)
        for coefficients, constant in levels.values():
            program.row({least: 1.0, **{j: -v for j, v in coefficients.items()}}, high=constant)
        return _unscaled(program.maximise({least: 1.0}), 0.0, scale)
    objective = dict.fromkeys(range(problem.shape[1]), 0.0)
    for g, (coefficients, _) in levels.items():
        for j, value in coefficients.items():
            objective[j] += float(aim.share[g]) * value
    constant = sum(float(aim.share[g]) * levels[g][1] for g in groups)
    return _unscaled(program.maximise(objective), constant, scale)


def _unscaled(solved: Solved, constant: float, scale: float) -> Solved:
    value, bound = (solved.value + constant) * scale, (solved.bound + constant) * scale
    return Solved(solved.package, value, bound, solved.optimal)


def _logs(program: Program, aim: Aim, groups: Sequence[int], clock: Clock) -> Solved:
    """Tangents of the logarithm from above, added where they were too high."""
    problem = program.problem
    levels = {g: program.level(g, aim.origin[g], aim.way[g]) for g in groups}
    most = {g: sum(max(v, 0.0) for v in row.values()) + c for g, (row, c) in levels.items()}
    logs = {g: program.column(-60.0, float(np.log(most[g]))) for g in groups}

    def touch(group: int, point: float) -> None:
        row, constant = levels[group]
        rest = {j: -v / point for j, v in row.items()}
        program.row({logs[group]: 1.0, **rest}, high=float(np.log(point)) - 1 + constant / point)

    for g in groups:
        for share in np.geomspace(0.05, 1.0, 12):
            touch(g, most[g] * float(share))
    best = Solved(None, -np.inf, np.inf, False)
    for _ in range(_CUTS):
        program.seconds = clock.left(np.inf)
        found = program.maximise({logs[g]: float(aim.share[g]) for g in groups})
        if found.package is None:
            return found if best.package is None else best
        reached = aim.levels(problem.utilities(found.package))
        value, bound = float(aim.value(problem.utilities(found.package))), found.bound
        bound = min(best.bound, bound)
        if value >= best.value:
            best = Solved(found.package, value, bound, bound - value <= 1e-6)
        best = Solved(best.package, best.value, bound, bound - best.value <= 1e-6)
        if best.optimal or not found.optimal:
            return best
        for g in groups:
            touch(g, max(float(reached[g]), 1e-6 * most[g]))
    return best


@final
class Clock:
    """Seconds that are left of a whole run.

    Args:
        seconds: from now; ``None`` for no end.
    """

    def __init__(self, seconds: float | None) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds

    def left(self, most: float) -> float:
        """At most what is left, and never 0."""
        return most if self._end is None else max(0.01, min(most, self._end - time.monotonic()))


def _one(problem: PackageProblem) -> float:
    """The budget in units of itself; nothing if it is 0."""
    return problem.limit / problem.budget if problem.budget else 0.0

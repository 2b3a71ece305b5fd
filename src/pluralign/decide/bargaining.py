"""The mediated bargaining: aspirations fall, a mediator proposes, groups answer with swaps."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, cast, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import DataError, ParameterError
from ..rules import Within, check, nearest
from .decision import Decision, Event, decided, floats, status_quo
from .enumeration import EXACT_LIMIT, RANKINGS, Designs, chosen, designs_of
from .fields import Floats, each
from .problem import PackageProblem
from .search import Aim
from .solving import Solver
from .stakeholders import Stakeholder
from .swaps import best_of, best_swap, better, harmless, read_swap, swapped

Package = tuple[int, ...]


@final
@dataclasses.dataclass(frozen=True, kw_only=True)
class _Options:
    rounds: Annotated[int, Within(2, integer=True)]
    quorum: Annotated[float, Within(0.0, 1.0, closed="right")]
    exact_limit: Annotated[int, Within(1, 25, integer=True)]
    time_limit: Annotated[float, Within(0.0, closed="neither")]


def negotiate(
    problem: PackageProblem,
    *,
    rounds: int = 10,
    kappa: ArrayLike = 1.0,
    quorum: float = 1.0,
    stakeholders: Mapping[str, Stakeholder] | None = None,
    exact_limit: int = EXACT_LIMIT,
    time_limit: float = 60.0,
) -> Decision:
    r"""Let the groups bargain before a neutral mediator, with every step on record.

    Use it where people must be able to follow how a package came about. With one pace of
    concession for all it ends where ``kalai_smorodinsky`` does. Not against groups that
    misreport what they value: nothing keeps them from it.

    Every group first posts its best affordable package. In round t it accepts what gives it
    :math:`a_g(t) = I_g - (I_g - d_g)\,((t-1)/(T-1))^{\kappa_g}` and no less than
    :math:`d_g`. The mediator proposes a package that most groups accept; of those the leximin
    of :math:`(u_g - d_g)/(I_g - d_g)`, then the cheaper. Who does not accept counters with the
    swap that gives it most. The mediator keeps the counter that raises the worst normalised
    gain, then the total, most. It ends when all accept; or when ``quorum`` of the groups do,
    none is below :math:`d_g` and no counter is kept. Then the rest of the money buys what
    harms nobody.

    Args:
        problem: items, groups, budget.
        rounds: T >= 2.
        kappa: pace of concession in (0, 10], one or ``(G,)``; above 1 a group holds out longer.
        quorum: share of groups in (0, 1] that must accept.
        stakeholders: who counters for a group, by name of the group; the best swap by the
            rubric speaks for the others, and for one whose answer cannot be used.
        exact_limit: up to so many items (1..25) the mediator looks at every package. Beyond,
            whether all can accept is still found exactly; where they cannot yet, it proposes
            the best of what it knows.
        time_limit: seconds for the mixed-integer solver, for each question.

    Returns:
        The decision with status ``agreement`` or ``disagreement``; :func:`replay` repeats its
        trace, whose events are described in :mod:`pluralign.decide.decision`.

    Raises:
        ParameterError: for an option out of its range or a stakeholder of no group.

    Example:
        >>> problem = PackageProblem([[3, 0, 1], [0, 2, 1]], cost=[2, 2, 1], budget=3)
        >>> decision = negotiate(problem)
        >>> decision.status, decision.choice, replay(problem, decision.trace) == decision
        ('agreement', ('item 0', 'item 2'), True)

    Differs from the paper: a reconstruction from its abstract (transparent, within a budget,
    neutral mediator, public rubric); offers, concessions and rounds were not to be had.

    References:
        Mushkani et al., 2025, arXiv 2503.12613.
    """
    check(_Options(rounds=rounds, quorum=quorum, exact_limit=exact_limit, time_limit=time_limit))
    paces = each(kappa, problem.group_names, "kappa")
    if not ((paces > 0) & (paces <= 10)).all():
        raise ParameterError(f"kappa must be in (0, 10]; got {paces.tolist()}.")
    for name in stakeholders or {}:
        if name not in problem.group_names:
            raise ParameterError(
                f"stakeholders: there is no group {name!r}; {nearest(name, problem.group_names)}"
            )
    solver = Solver(problem, exact_limit=exact_limit, time_limit=time_limit)
    table = _Table(solver, rounds, paces, quorum, dict(stakeholders or {}))
    events = table.bargain()
    return replay(problem, events)


def replay(problem: PackageProblem, trace: Sequence[Event]) -> Decision:
    """The decision that a trace leads to, every number in it computed anew.

    Args:
        problem: that was negotiated.
        trace: of the decision of :func:`negotiate`.

    Raises:
        DataError: naming the event whose package is not affordable, whose numbers are not those
            of the problem, or a trace without an end.

    Example: see :func:`negotiate`.
    """
    package: Package = ()
    status, notes = None, list[str]()
    for number, event in enumerate(trace):
        try:
            kind = event["event"]
            if kind == "proposal":
                package = tuple(event["package"])
            elif kind in ("swap", "finish"):
                package = swapped(package, event.get("drop"), event["add"])
            elif kind in ("agreement", "quorum", "disagreement"):
                status = kind
            if kind in ("proposal", "swap", "finish", "agreement", "quorum"):
                _verify(problem, number, event, package)
            notes += [str(note) for note in event.get("notes", ())]
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            raise DataError(f"event {number} of the trace cannot be read ({error!r}).") from error
    if status is None:
        raise DataError("the trace has no end: neither agreement, quorum nor disagreement.")
    if status == "disagreement":
        return status_quo(problem, "negotiate", trace=tuple(trace))
    if status == "quorum":
        notes.append("not all groups accepted; the quorum did.")
    proof = {"optimal": not notes, "gap": 0.0 if not notes else None}
    return decided(
        problem,
        "negotiate",
        package,
        status="agreement",
        trace=tuple(trace),
        notes=tuple(notes),
        **proof,
    )


def _verify(problem: PackageProblem, number: int, event: Event, package: Package) -> None:
    said = np.asarray(event["utilities"], dtype=np.float64)
    truth = problem.utilities(package)
    where = f"event {number} ({event['event']})"
    if tuple(event.get("package", package)) != package:
        raise DataError(f"{where} does not follow from the events before it.")
    if not problem.allows(package):
        raise DataError(f"{where}: the package {problem.named(package)} cannot be bought.")
    if said.shape != truth.shape or np.abs(said - truth).max() > 10 * problem.tolerance:
        raise DataError(
            f"{where} says utilities {said.tolist()}; by the problem they are {truth.tolist()}."
        )


@final
class _Table:
    """The mediator, the groups' answers and the record of both."""

    def __init__(
        self,
        solver: Solver,
        rounds: int,
        paces: Floats,
        quorum: float,
        stakeholders: dict[str, Stakeholder],
    ) -> None:
        self.solver, self.problem = solver, solver.problem
        self.rounds, self.paces, self.quorum = rounds, paces, quorum
        self.stakeholders = stakeholders
        self.events: list[dict[str, Any]] = []

    def bargain(self) -> list[dict[str, Any]]:
        """All events, from the opening to the end."""
        self._open()
        if not len(self.known):
            self._log("disagreement", 0, ())
            return self.events
        for number in range(1, self.rounds + 1):
            package = self._propose(number)
            if self._accepts(package, number).all():
                return self._end("agreement", number, package)
            improved = self._counters(number, package)
            if improved is not None:
                if self._accepts(improved, number).all():
                    return self._end("agreement", number, improved)
                continue
            answers = self._accepts(package, number)
            if answers.mean() >= self.quorum and self.problem.accepts(package):
                return self._end("quorum", number, package)
        self._log("disagreement", self.rounds, ())
        return self.events

    def aspirations(self, number: int) -> Floats:
        """What each group asks for in a round."""
        given_up = ((number - 1) / (self.rounds - 1)) ** self.paces
        ideal, point = self.solver.frame.ideal, self.problem.point
        return ideal - (ideal - point) * given_up

    @cached_property
    def demands(self) -> list[Package]:
        """The best affordable package of each group."""
        problem = self.problem
        if self.solver.small:
            designs = [self.solver.everything] * problem.shape[0]
        else:
            # Affordable is enough here: no group is held to the others' disagreement point.
            lowest = problem.start + np.minimum(problem.value_table, 0).sum(axis=1)
            free = Solver(
                problem.changed(disagreement=lowest),
                exact_limit=1,
                time_limit=self.solver.time_limit,
            )
            zero, one = np.zeros(problem.shape[0]), np.ones(problem.shape[0])
            designs = list[Designs]()
            for share in np.eye(problem.shape[0]):
                found, solved = free.best(Aim("sum", zero, one, share))
                known = None if solved is None else solved.package
                designs.append(found or designs_of(problem, [known or ()]))
        return [best_of(one, group) for group, one in enumerate(designs)]

    @cached_property
    def known(self) -> Designs:
        """What the mediator chooses among: every package, or some that rules find."""
        if self.solver.small:
            none = not len(self.solver.designs)
            return self.solver.everything.at(np.arange(0)) if none else self.solver.everything
        found = [self.solver.decide(name) for name in ("kalai_smorodinsky", "utilitarian")]
        if found[0].status == "disagreement":
            return designs_of(self.problem, [()]).at(np.arange(0))
        self._fair_optimal = found[0].optimal
        packages = dict.fromkeys([*(one.package for one in found), *self.demands, ()])
        return designs_of(self.problem, [p for p in packages if self.problem.allows(p)])

    def _open(self) -> None:
        for group, package in zip(self.problem.group_names, self.demands, strict=True):
            self._log("opening", 0, package, group=group)

    def _propose(self, number: int) -> Package:
        asked = self.aspirations(number)
        designs = self.known if self.solver.small else self._with_best_for(asked)
        accepted = (designs.utilities >= asked - self.problem.tolerance) & (
            designs.utilities >= self.problem.point - self.problem.tolerance
        )
        count = accepted.sum(axis=1)
        most = designs.at(np.flatnonzero(count == count.max()))
        row = chosen(most, self.solver.frame, RANKINGS["kalai_smorodinsky"])
        package = most.package(row)
        self._log(
            "proposal",
            number,
            package,
            aspirations=list(floats(asked)),
            accepts=self._names(self._accepts(package, number)),
        )
        return package

    def _with_best_for(self, asked: Floats) -> Designs:
        """Of many items: what is known, and what comes nearest to all that is asked."""
        way = self.solver.frame.ideal - self.problem.point
        open_ = way > self.problem.tolerance
        aim = Aim("least", asked, np.where(open_, way, 1.0), open_.astype(np.float64))
        found, solved = self.solver.best(aim)
        packages = [self.known.package(row) for row in range(len(self.known))]
        if found is not None:
            packages += [found.package(row) for row in range(len(found))]
        elif solved is not None and solved.package is not None:
            packages.append(solved.package)
        return designs_of(self.problem, list(dict.fromkeys(packages)))

    def _accepts(self, package: Package, number: int) -> NDArray[np.bool_]:
        lowest = np.maximum(self.aspirations(number), self.problem.point)
        return self.problem.utilities(package) >= lowest - self.problem.tolerance

    def _counters(self, number: int, package: Package) -> Package | None:
        """Every group that does not accept counters; what the mediator keeps, if anything."""
        best, best_swap = self._merit(package), None
        answers = self._accepts(package, number)
        for group in np.flatnonzero(~answers):
            swap = self._counter(number, package, int(group))
            if swap is None:
                continue
            merit = self._merit(swapped(package, *swap))
            if better(merit, best):
                best, best_swap = merit, (int(group), *swap)
        if best_swap is None:
            return None
        group, drop, add = best_swap
        kept = swapped(package, drop, add)
        self._log(
            "swap",
            number,
            kept,
            group=self.problem.group_names[group],
            drop=drop,
            add=add,
            accepts=self._names(self._accepts(kept, number)),
        )
        return kept

    def _counter(self, number: int, package: Package, group: int) -> tuple[int | None, int] | None:
        name = self.problem.group_names[group]
        speaker = self.stakeholders.get(name)
        swap, text, by = best_swap(self.problem, package, group), "", "rubric"
        if speaker is not None:
            text = speaker.counter(self._view(number, package, group))
            said = read_swap(text, self.problem, package)
            if isinstance(said, str):
                self._log("invalid", number, package, group=name, reason=said, text=text)
            else:
                swap, by = said, "stakeholder"
        if swap is not None:
            after = swapped(package, *swap)
            said = {"drop": swap[0], "add": swap[1], "by": by, "text": text}
            self._log("counter", number, after, group=name, **said)
        return swap

    def _view(self, number: int, package: Package, group: int) -> dict[str, Any]:
        problem = self.problem
        table = cast("list[list[float]]", problem.value_table.T.tolist())
        utilities = floats(problem.utilities(package))
        return {
            "group": problem.group_names[group],
            "round": number,
            "rounds": self.rounds,
            "package": list(problem.named(package)),
            "utilities": dict(zip(problem.group_names, utilities, strict=True)),
            "asked": float(self.aspirations(number)[group]),
            "budget": problem.budget,
            "left": problem.budget - problem.spent(package),
            "items": [
                {
                    "name": name,
                    "cost": float(problem.prices[j]),
                    "values": dict(zip(problem.group_names, table[j], strict=True)),
                }
                for j, name in enumerate(problem.item_names)
            ],
        }

    def _merit(self, package: Package) -> tuple[float, float]:
        utilities = self.problem.utilities(package)
        share = self.solver.frame.normalised(utilities)
        return float(share.min()), float(utilities.sum()) / self.problem.scale

    def _end(self, kind: str, number: int, package: Package) -> list[dict[str, Any]]:
        note = [] if self.solver.small or self._fair_optimal else [_UNPROVED]
        self._log(kind, number, package, **({"notes": note} if note else {}))
        while (item := harmless(self.problem, package)) is not None:
            package = swapped(package, None, item)
            self._log("finish", number, package, add=item)
        return self.events

    def _names(self, answers: NDArray[np.bool_]) -> list[str]:
        return [self.problem.group_names[g] for g in np.flatnonzero(answers)]

    def _log(self, event: str, number: int, package: Package, **others: Any) -> None:
        utilities = self.problem.utilities(package) if event != "disagreement" else None
        said = floats(self.problem.point if utilities is None else utilities)
        self.events.append(
            {
                "event": event,
                "round": number,
                "package": [int(j) for j in package],
                "choice": list(self.problem.named(package)),
                "utilities": list(said),
                **others,
            }
        )


_UNPROVED = "that no package serves the groups more evenly was not proved in the time given."

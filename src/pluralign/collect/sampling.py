"""Buy in rounds while the curves are learnt: ask what to buy, tell what was measured."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any, final

import numpy as np

from ..errors import DataError, ParameterError
from ..rules import shown
from .curves import Floats, PowerCurves
from .fitting import CurveFit, fit_curve
from .ledger import Evaluation, Ledger, Point, Purchase, read_ledger, write_ledger
from .plan import SamplingPlan
from .rounds import ranked_money, rounded, wanted_money


@final
class AdaptiveSampler:
    """Decides round by round whom to buy from, and forgets nothing when it is killed.

    Use it when curves are unknown and data arrive in batches: it buys a pilot, fits a curve for
    each group, spends a round's money as :func:`allocate` would with those curves, and refits
    on what was measured. Because the best allocations of growing budgets contain each other,
    no horizon is needed. Do not use it when all data come at once; allocate by prior curves.

    ``ask`` says what to buy and ``tell`` what came of it. With ``path`` the state is written
    before either returns, whole or not at all: a process that dies between them asks for the
    same purchase again, under the same id.

    Args:
        plan: groups, prices, budget, objective.
        path: file of the state; read if it exists.
        state: a state as :meth:`state` gave it, instead of a file.

    Raises:
        DataError: for a state that is truncated, changed, or of another plan.

    Example:
        >>> plan = SamplingPlan(groups=("a", "b"), cost=1, budget=400, pilot=40, rounds=4)
        >>> sampler = AdaptiveSampler(plan)
        >>> loss = {"a": lambda n: 0.1 + n**-0.5, "b": lambda n: 0.1 + 2 * n**-0.5}
        >>> while (purchase := sampler.ask()) is not None:
        ...     sizes = [(g, n) for g, each in purchase.evaluate_at.items() for n in each]
        ...     sampler.tell(purchase, [Evaluation(g, n, loss[g](n)) for g, n in sizes])
        >>> sampler.totals, sampler.spent
        ({'a': 151, 'b': 249}, 400.0)

    Differs from the paper: ours. With consistent estimates and every group bought from again
    and again the allocation tends to the optimum; the paper's own theorem was not to be had.

    References:
        Cai et al., 2022, arXiv 2202.01327.
    """

    def __init__(
        self,
        plan: SamplingPlan,
        *,
        path: str | Path | None = None,
        state: Mapping[str, Any] | None = None,
    ) -> None:
        self.plan = plan
        self._path = None if path is None else Path(path)
        if state is not None:
            self._ledger = Ledger.from_json(dict(state), plan)
        elif self._path is not None and self._path.exists():
            self._ledger = read_ledger(self._path, plan)
        else:
            held = zip(plan.groups, plan.array("held").tolist(), strict=True)
            self._ledger = Ledger(totals={name: int(n) for name, n in held})

    @property
    def totals(self) -> dict[str, int]:
        """Samples of each group, held ones included."""
        return dict(self._ledger.totals)

    @property
    def spent(self) -> float:
        """Money so far."""
        return self._ledger.spent

    @property
    def points(self) -> tuple[Point, ...]:
        """All measured losses."""
        return tuple(self._ledger.points)

    @property
    def trace(self) -> list[dict[str, Any]]:
        """One record for each finished round."""
        return deepcopy(self._ledger.trace)

    def state(self) -> dict[str, Any]:
        """Everything that is needed to go on, as plain JSON."""
        return self._ledger.to_json(self.plan)

    def ask(self) -> Purchase | None:
        """What to buy now; the same until it was told of. ``None`` when there is nothing more.

        Raises:
            ParameterError: if a group cannot reach the performance that the objective needs.
        """
        if self._ledger.pending is None:
            purchase = self._pilot() if self._ledger.round == 0 else self._next()
            if purchase is None:
                return None
            self._keep(replace(self._ledger, pending=purchase))
        return self._ledger.pending

    def tell(
        self,
        purchase: Purchase | str,
        evaluations: Sequence[Evaluation],
        *,
        bought: Mapping[str, int] | None = None,
    ) -> None:
        """Record that a purchase was made and what was measured after it.

        Args:
            purchase: as asked for, or its id.
            evaluations: at least one of each group that was bought from; in the pilot of every
                group, at the sizes of ``evaluate_at``.
            bought: what could be had, where that was less than asked for.

        Raises:
            ParameterError: for a purchase that is not pending, or more bought than asked for.
            DataError: naming the evaluations that cannot be used, or the group without one.
        """
        asked = self._pending(purchase if isinstance(purchase, str) else purchase.id)
        got = self._got(asked, bought)
        totals = {name: self._ledger.totals[name] + n for name, n in got.items()}
        self._check(evaluations, asked, totals, got)
        cost = dict(zip(self.plan.groups, self.plan.array("cost").tolist(), strict=True))
        spent = sum(cost[name] * n for name, n in got.items())
        points = [self._point(one, totals, asked.round) for one in evaluations]
        record = {
            "round": asked.round,
            "id": asked.id,
            "bought": got,
            "totals": totals,
            "spent": spent,
            "spent_in_all": self.spent + spent,
            "curves": {} if asked.round == 0 else self._curve_records(),
            "predicted": dict(asked.predicted),
            "obtained": {p.group: p.loss for p in points if p.n == totals[p.group]},
            "note": asked.note,
        }
        self._keep(
            Ledger(
                totals=totals,
                spent=self.spent + spent,
                round=asked.round + 1,
                points=[*self._ledger.points, *points],
                trace=[*self._ledger.trace, record],
            )
        )

    def fits(self) -> dict[str, CurveFit]:
        """The fitted curve of each group that was measured; by effective sizes with transfer."""
        found: dict[str, CurveFit] = {}
        for name in self.plan.groups:
            points = [p for p in self._ledger.points if p.group == name]
            if points:
                given = [p.se for p in points if p.se is not None]
                se = None
                if given:
                    usual = float(np.median(given))
                    se = [usual if p.se is None else p.se for p in points]
                found[name] = fit_curve(
                    [p.worth for p in points],
                    [p.loss for p in points],
                    se,
                    gamma_bounds=self.plan.gamma_bounds,
                    name=name,
                )
        return found

    def curves(self) -> PowerCurves:
        """The fitted curves of all groups together.

        Raises:
            ParameterError: naming a group that was not measured yet.
        """
        fits = self.fits()
        missing = [name for name in self.plan.groups if name not in fits]
        if missing:
            raise ParameterError(
                f"group {missing[0]!r} was not measured yet; tell the pilot first."
            )
        rows = np.array([(fits[n].a, fits[n].b, fits[n].gamma) for n in self.plan.groups])
        return PowerCurves(rows[:, 0], rows[:, 1], rows[:, 2], names=self.plan.groups)

    def _keep(self, ledger: Ledger) -> None:
        if self._path is not None:
            write_ledger(self._path, ledger, self.plan)
        self._ledger = ledger

    def _counts(self) -> Floats:
        return np.array([self._ledger.totals[name] for name in self.plan.groups], dtype=np.float64)

    def _pilot(self) -> Purchase:
        counts = self.plan.pilot_counts()
        totals = self._counts() + counts
        sizes = [sorted({int(n) // 4, int(n) // 2, int(n)} - {0}) for n in totals]
        return self._purchase(counts, dict(zip(self.plan.groups, sizes, strict=True)), {}, "")

    def _next(self) -> Purchase | None:
        """The next round's purchase; rounds whose money buys nothing are joined."""
        plan, ledger = self.plan, self._ledger
        left, rounds = plan.budget - ledger.spent, plan.rounds - ledger.round + 1
        curves = self.curves() if plan.rule == "curves" else None
        for share in range(1, rounds + 1):
            money = left * share / rounds
            if money <= 1e-9 * plan.budget:
                return None
            counts, note = self._round(curves, money)
            if counts.any():
                return self._bought(counts, curves, note)
        return None

    def _round(self, curves: PowerCurves | None, money: float) -> tuple[Floats, str]:
        held = self._counts()
        if curves is None:
            wanted, note = ranked_money(self.plan, held, self._ledger.points, money), ""
        else:
            wanted, note = wanted_money(self.plan, curves, held, money)
        return rounded(self.plan, held, wanted, money), note

    def _bought(self, counts: Floats, curves: PowerCurves | None, note: str) -> Purchase:
        totals = self._counts() + counts
        predicted: dict[str, float] = {}
        if curves is not None:
            tau = self.plan.transfer
            worth = totals if tau is None else np.asarray(tau) @ totals
            predicted = dict(zip(self.plan.groups, curves.loss(worth).tolist(), strict=True))
        again = (counts > 0) | (self.plan.transfer is not None)
        sizes = {
            name: [int(n)]
            for name, n, wanted in zip(self.plan.groups, totals, again, strict=True)
            if wanted
        }
        return self._purchase(counts, sizes, predicted, note)

    def _purchase(
        self, counts: Floats, sizes: Mapping[str, Sequence[int]], predicted: Any, note: str
    ) -> Purchase:
        groups, number = self.plan.groups, self._ledger.round
        buy = {name: int(n) for name, n in zip(groups, counts, strict=True)}
        text = f"{self.plan.digest()} {number} {sorted(buy.items())} {self._ledger.totals}"
        return Purchase(
            id=f"{number}-{hashlib.sha256(text.encode()).hexdigest()[:12]}",
            round=number,
            counts=buy,
            totals={name: self._ledger.totals[name] + n for name, n in buy.items()},
            cost=float(self.plan.array("cost") @ counts),
            evaluate_at={name: list(found) for name, found in sizes.items()},
            predicted=predicted,
            note=note,
        )

    def _pending(self, name: str) -> Purchase:
        pending = self._ledger.pending
        if pending is not None and pending.id == name:
            return pending
        if name in {record["id"] for record in self._ledger.trace}:
            raise ParameterError(f"purchase {name!r} was told of already; ask for the next.")
        waiting = "none is" if pending is None else f"{pending.id!r} is"
        raise ParameterError(f"purchase {name!r} is not pending ({waiting}); ask first.")

    def _got(self, asked: Purchase, bought: Mapping[str, int] | None) -> dict[str, int]:
        got = dict(asked.counts)
        for name, n in ({} if bought is None else bought).items():
            if name not in got or int(n) != n or not 0 <= n <= got[name]:
                raise ParameterError(
                    f"bought[{name!r}] must be a whole number in [0, {got.get(name, 0)}], what "
                    f"purchase {asked.id!r} asks for; got {shown(n)}."
                )
            got[name] = int(n)
        return got

    def _check(
        self,
        evaluations: Sequence[Evaluation],
        asked: Purchase,
        totals: Mapping[str, int],
        got: Mapping[str, int],
    ) -> None:
        problems = [
            (i, f"group {one.group!r} is not in the plan")
            if one.group not in totals
            else (i, f"n is {one.n:g}, group {one.group!r} has {totals[one.group]}")
            for i, one in enumerate(evaluations)
            if one.group not in totals or one.n > totals[one.group]
        ]
        if problems:
            row, what = problems[0]
            raise DataError(
                f"evaluation {row} cannot be used: {what}.",
                source=f"tell({asked.id!r})",
                rows=[i for i, _ in problems],
            )
        needed = [name for name in asked.evaluate_at if asked.round == 0 or got[name] > 0]
        missing = sorted(set(needed) - {one.group for one in evaluations})
        if missing:
            raise DataError(
                f"no evaluation of group {missing[0]!r}; measure it at "
                f"{list(asked.evaluate_at[missing[0]])} samples.",
                source=f"tell({asked.id!r})",
            )

    def _point(self, one: Evaluation, totals: Mapping[str, int], number: int) -> Point:
        """A measurement; on a nested subset the other groups are taken to shrink likewise."""
        worth = float(one.n)
        if self.plan.transfer is not None:
            counts = np.array([totals[name] for name in self.plan.groups], dtype=np.float64)
            row = np.asarray(self.plan.transfer)[list(self.plan.groups).index(one.group)]
            worth = float(row @ counts) * one.n / totals[one.group]
        return Point(one.group, float(one.n), worth, float(one.loss), one.se, number)

    def _curve_records(self) -> dict[str, Any]:
        if self.plan.rule != "curves":
            return {}
        return {
            name: {"a": fit.a, "b": fit.b, "gamma": fit.gamma, "flag": fit.flag}
            for name, fit in self.fits().items()
        }

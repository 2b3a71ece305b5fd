"""A collection as it stands, and what more money would do for each group."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, cast, final

import numpy as np

from ...collect import AdaptiveSampler, PowerCurves, SamplingPlan
from ...collect.fitting import CurveFit
from ...collect.forecast import forecast
from ...collect.ledger import FORMAT
from ...collect.welfare import Objective, objective_named
from ...errors import DataError, ParameterError
from ...steer.sphere import Floats

OBJECTIVES: Final = ("utilitarian", "isoelastic", "maximin")
"""What the page offers beside the plan's own objective, by its plain name."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Collection:
    """What a running collection has bought and learnt.

    Args:
        plan: groups, prices, budget and objective.
        held: samples of each group by now, in the plan's order.
        spent: money by now.
        curves: of all groups; ``None`` before the pilot was told.
        fits: where the curves come from.
    """

    plan: SamplingPlan
    held: Floats
    spent: float
    curves: PowerCurves | None
    fits: Mapping[str, CurveFit]

    @property
    def left(self) -> float:
        """Money of the plan's budget that is not spent."""
        return max(self.plan.budget - self.spent, 0.0)


def find_collection(directory: Path) -> Path | None:
    """The state file of a collection in a directory, the first by name."""
    for path in sorted(directory.glob("*.json")):
        with path.open(encoding="utf-8", errors="replace") as file:
            if f'"format": "{FORMAT}"' in file.read(200):
                return path
    return None


def read_collection(path: Path) -> Collection:
    """Read the state that an :class:`~pluralign.collect.AdaptiveSampler` keeps in a file.

    Args:
        path: of the state; it is not written.

    Raises:
        DataError: naming the file, if it is truncated or changed, or its objective is a
            utility of one's own, which a file cannot hold.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "state.json"
        >>> plan = SamplingPlan(groups=("a", "b"), cost=1, budget=300)
        >>> _ = AdaptiveSampler(plan, path=path).ask()
        >>> found = read_collection(path)
        >>> found.plan.groups, found.left, found.curves
        (('a', 'b'), 300.0, None)
    """
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        plan = _plan(state["plan"])
        sampler = AdaptiveSampler(plan, state=state)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"is no state of a collection ({error}).", source=str(path)) from error
    fits = sampler.fits()
    return Collection(
        plan=plan,
        held=np.array([sampler.totals[name] for name in plan.groups], dtype=np.float64),
        spent=sampler.spent,
        curves=sampler.curves() if len(fits) == len(plan.groups) else None,
        fits=fits,
    )


def spend(found: Collection, money: float, objective: str | None = None) -> dict[str, Any]:
    """What each group's loss would be after spending more, by its fitted curve.

    Use it to see whom an objective serves before the money is gone. It is as good as the
    curves: look at the intervals of the next gain in ``pluralign plan``.

    Args:
        found: a collection whose pilot was told.
        money: to spend from now on, in the plan's currency, > 0.
        objective: one of :data:`OBJECTIVES`; the plan's own if not given.

    Returns:
        Plain JSON of :func:`pluralign.collect.forecast.forecast`: ``groups`` now,
        ``strategies`` afterwards, the objective asked for first.

    Raises:
        ParameterError: if there are no curves yet, for another objective or budget.
    """
    if found.curves is None:
        raise ParameterError("no curve is known yet: buy the pilot and tell what was measured.")
    wanted = found.plan.objective if objective is None else objective_named(objective)
    plan = replace(found.plan, objective=wanted)
    return forecast(plan, found.curves, held=found.held, budget=float(money), fits=found.fits)


def _plan(values: Mapping[str, Any]) -> SamplingPlan:
    """The plan of its plain values; unlimited is null there."""
    given = dict(values)
    objective = cast("dict[str, Any]", dict(given.pop("objective")))
    available = [np.inf if n is None else n for n in given.pop("available")]
    settings: dict[str, Any] = {
        **{k: tuple(v) if isinstance(v, list) else v for k, v in given.items()},
        "available": available,
        "objective": _objective(objective),
    }
    return SamplingPlan(**settings)


def _objective(values: dict[str, Any]) -> Objective:
    name = values.pop("name")
    if name == "concave":
        raise DataError("its objective is a utility of one's own, which a file cannot hold")
    return objective_named(name, **values)
